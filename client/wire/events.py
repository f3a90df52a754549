"""What a stream tells of its job: the events, as readers get them and as they are stored.

An entry of the Redis Stream has one field, FIELD, which holds an event as JSON; on the channel the entry's id
and a space stand before it. An id is `{µs}-{n}`: when the run was claimed, and the number of the event in it.
So ids grow from run to run, whoever writes, and what is written twice or too late is refused by Redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from pydantic_core import PydanticSerializationError, from_json, to_json

from ..errors import InvalidRequest, JobError, JobFailed, from_wire
from .codec import describe

FIELD = "e"
START = (0, 0)  # before the first event of any stream
RESET, TRUNCATED = b'{"kind":"reset"}', b'{"kind":"truncated"}'

Position: TypeAlias = tuple[int, int]  # an id as numbers, for comparing
_FIELDS: dict[str, type] = {"text": str, "reasoning": str, "tool_calls": list}
Kind: TypeAlias = Literal["delta", "reset", "truncated", "done", "error"]


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of an answer that is being written.

    delta      more of the answer: `text`, `reasoning`, pieces of `tool_calls` in OpenAI's streamed form
    reset      the job starts over: forget all deltas so far
    truncated  further deltas are not stored; the result is whole
    done       the end: the result is there
    error      the end: the job has failed, with `error`

    Give `id` to `Job.stream(after=…)` to go on behind this event.
    """

    id: str
    kind: Kind
    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    error: JobError | None = None

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return self.kind in ("done", "error")


def delta(text: str, reasoning: str = "", tool_calls: Sequence[Mapping[str, Any]] = ()) -> bytes:
    event: dict[str, Any] = {"kind": "delta"}
    if text:
        event["text"] = text
    if reasoning:
        event["reasoning"] = reasoning
    if tool_calls:
        event["tool_calls"] = tool_calls
    return to_json(event)


def done(after: str = "") -> bytes:
    """`after` is the id of the event before, so that a reader notices if that was never stored."""
    return to_json({"kind": "done", "after": after} if after else {"kind": "done"})


def failed(error: BaseException) -> bytes:
    try:
        return to_json({"kind": "error", "error": describe(error).to_wire()}, fallback=str)
    except PydanticSerializationError:  # half a character in its words
        return to_json({"kind": "error", "error": JobFailed("The job has failed.").to_wire()})


def read(at: Position, data: bytes) -> tuple[StreamEvent, Position]:
    """The event, and the one it is known to follow: START where nothing is known. Raises ValueError, or what comes of a
    record of another form."""
    fields: dict[str, Any] = from_json(data)
    after, kind, error = fields.get("after"), fields["kind"], fields.get("error")
    text, reasoning, calls = (fields.get(name, kind_of()) for name, kind_of in _FIELDS.items())
    if kind not in get_args(Kind) or [str, str, list] != [type(text), type(reasoning), type(calls)]:
        raise ValueError("it is no event")
    failure = (
        from_wire(error) if isinstance(error, dict) else JobFailed("unknown") if kind == "error" else None
    )
    event = StreamEvent(text_of(at), kind, text, reasoning, calls, failure)
    return event, position(after) if after else START


def position(id_: str | bytes) -> Position:
    """Raises InvalidRequest on what is no id of an event."""
    try:
        us, _, n = id_.partition("-" if isinstance(id_, str) else b"-")  # type: ignore[arg-type]
        return int(us), int(n)
    except (ValueError, AttributeError):
        raise InvalidRequest(
            f"{id_!r} is no id of an event: give the `id` of the last one you saw."
        ) from None


def text_of(at: Position) -> str:
    return f"{at[0]}-{at[1]}"
