"""What goes out to a provider and what comes back, in the neutral form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
from pydantic_core import to_json

from client.wire.schemas import Usage

from .extra import Extra, join, unread

MAX_TOKENS = 10**12  # a count above is none

_CALL_FIELDS = frozenset({"index", "id", "function"})

Headers = Mapping[str, str]  # looked up case-insensitively, as httpx.Headers are


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One POST, ready to be sent."""

    url: httpx.URL
    headers: dict[str, str] = field(repr=False)  # holds the key
    body: bytes = field(repr=False)


@dataclass(slots=True)  # frozen, each field would be set by a call
class ChatAnswer:
    """What one call answered. `model` is the provider's own name for the model that did."""

    text: str
    finish_reason: str | None
    model: str
    usage: Usage
    tool_calls: list[dict[str, Any]]
    response_id: str | None
    reasoning: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbedAnswer:
    """One vector for each text, in the texts' order: numbers, or base64 of little-endian float32."""

    vectors: list[list[float] | str]
    model: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A piece of one tool call. Pieces of the same `index` belong together, and their `arguments` are joined;
    one without an index is a whole call."""

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    more: dict[str, Any] | None = None  # further fields of the call


class Delta(NamedTuple):
    """What one event of a stream adds to the answer. `usage` is of the whole stream so far: what it tells
    replaces what was told. The answer is whole once there is a `finish_reason` or the event `is_last`."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallPart, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    response_id: str | None = None
    is_refusal: bool = False  # the text is the model's refusal
    is_last: bool = False  # nothing follows
    extra: Extra | None = None  # what the neutral form has no place for

    def answer(self, model: str) -> ChatAnswer:
        """The answer where this is all of it; `model` is the name it was asked by."""
        return ChatAnswer(
            self.text,
            "content_filter" if self.is_refusal else self.finish_reason,
            self.model or model,
            self.usage or Usage(),
            join_calls(self.tool_calls) if self.tool_calls else [],
            self.response_id,
            self.reasoning or None,
            self.extra or {},
        )


class CallNumbers:
    """Numbers the tool calls of one stream from 0, whatever their provider's indexes are.

    Anthropic counts all blocks. Some hosts give every call the index 0, or none: there, a name with another id
    begins another call. One that only changes the id (vLLM's, with every piece) begins none, and the first id
    stands.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []  # of the calls, by their numbers
        self._told: list[str | None] = []  # as the provider told them
        self._numbers: dict[int | None, int] = {}  # by index, of the last call that began with it

    def of(self, parts: Iterable[ToolCallPart]) -> tuple[ToolCallPart, ...]:
        """The parts with their calls' numbers and ids, without those of what never began as a call: Anthropic
        streams the input of tools that run at its side, too."""
        return tuple(numbered for part in parts if (numbered := self._numbered(part)) is not None)

    def _numbered(self, part: ToolCallPart) -> ToolCallPart | None:
        number = None if part.index is None else self._numbers.get(part.index)
        if number is not None and not self._is_another(number, part):
            self._told[number] = self._told[number] or part.id
            return replace(part, index=number, id=self._ids[number] if part.id else None)
        if not (part.id or part.name or part.more):
            return None
        number = self._numbers[part.index] = len(self._ids)
        self._ids.append(own_id(part.id, self._ids))
        self._told.append(part.id)
        return replace(part, index=number, id=self._ids[number])

    def _is_another(self, number: int, part: ToolCallPart) -> bool:
        return bool(part.name and part.id and self._told[number]) and part.id != self._told[number]


def own_id(told: str | None, taken: Iterable[str]) -> str:
    """The id of a call: as it was told, or, where it was not or is another call's, a new one. Some providers want
    the ids of a whole conversation to differ, so a new one is like no other."""
    return told if told and told not in taken else f"call_{uuid4().hex[:24]}"


def call_parts(calls: Any, *, whole: bool = False) -> Iterator[ToolCallPart]:
    """OpenAI's form, or what hosts make of it. `whole`: each entry is a call, whatever its index is."""
    for position, call in enumerate(calls if isinstance(calls, list) else ()):
        if not isinstance(call, dict):
            continue
        function, index = mapping(call.get("function")), call.get("index")
        more = unread(call, _CALL_FIELDS)
        if more.get("type") == "function":
            del more["type"]
        yield ToolCallPart(
            index=None if whole else index if isinstance(index, int) else position,
            id=text_or_none(call.get("id")),
            name=text_or_none(function.get("name")),
            arguments=arguments_text(function.get("arguments")),
            more=more or None,
        )


def arguments_text(arguments: Any) -> str:
    """A call's arguments, or a piece of them, as the JSON text that they are in OpenAI's form: some hosts send an
    object. Empty where there are none."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return to_json(arguments).decode()


def join_calls(parts: Iterable[ToolCallPart]) -> list[dict[str, Any]]:
    """The entries of `tool_calls` that the parts make up, in the order in which they began."""
    calls: dict[object, dict[str, Any]] = {}
    for part in parts:
        key = object() if part.index is None else part.index
        call = calls.setdefault(key, {"id": None, "type": "function", "function": {"arguments": ""}})
        function = call["function"]
        call["id"] = call["id"] or part.id
        function["name"] = part.name or function.get("name")
        function["arguments"] += part.arguments
        join(call, part.more or {})
    taken: list[str] = []
    for call in calls.values():
        call["id"] = own_id(call["id"], taken)
        taken.append(call["id"])
        name, arguments = call["function"].get("name"), call["function"]["arguments"]
        call["function"] = {"name": name, "arguments": arguments if arguments.strip() else "{}"}
        if call["type"] != "function" and not name:  # a custom tool's call has its own field
            del call["function"]
    return list(calls.values())


def count(value: Any) -> int | None:
    """A number of tokens as the provider told it; None for anything that is none, or cannot be true."""
    if type(value) is int:
        return value if 0 <= value <= MAX_TOKENS else None
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TOKENS:
        return None
    return int(value) if value == int(value) else None


def output_count(told: int | None, total: int | None, prompt: int | None) -> int | None:
    """The output: what the total has beyond the prompt, where that is more than was told. Some hosts count the
    reasoning beside the output."""
    if total is None or prompt is None:
        return told
    return max(told or 0, total - prompt)


def first(answers: Any) -> dict[str, Any]:
    """The first of the answers, which `extra` may ask several of: in a stream, they come side by side."""
    for answer in answers if isinstance(answers, list) else ():
        if isinstance(answer, dict) and not answer.get("index"):
            return answer
    return {}


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object; an empty one for anything that is none."""
    return value if isinstance(value, dict) else {}


def text_or_none(value: Any) -> str | None:
    """A text that says something; None for anything that is none."""
    return value if isinstance(value, str) and value else None
