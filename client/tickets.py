"""A call and its options → the tickets that the enqueue script takes. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from os import urandom
from typing import Any, NamedTuple, TypeAlias

from .errors import InvalidRequest, Unserializable
from .limits.rules.estimate import input_tokens, output_tokens
from .limits.rules.lanes import Kind, joined, model_part
from .requests import check_chars, check_size, unicode_id
from .steps import Steps
from .terms import LIFE_S, Priority, Terms
from .wire.keys import Keys
from .wire.record import job_record, unstarted_record
from .wire.reservation import reserving
from .wire.schemas import ChatRequest, EmbedRequest

HEAD_STARTS_S = {"low": 0.0, "normal": 60.0, "high": 600.0}  # plain arq clients give none: low
ID_BYTES = 16  # of an id that we give; none comes twice
MAX_HEAD_START_S = 86_400.0
MAX_S = 10 * 365 * 86_400  # ten years: a longer wait or life is a mistake in the unit


class JobTicket(NamedTuple):
    """A job on its way into the queue."""

    job_id: str
    lane: str  # the key
    payload: bytes
    defer_ms: int  # below 0: a head start
    life_ms: int
    note: bytes = b""  # see note_of


# A job without an id: the key of its lane, arq's record of it, and its function. A bare tuple is nothing for the
# garbage collector to walk through, of which many at once would make a long pause.
Work: TypeAlias = tuple[str, bytes, str]


async def llm_work(
    kind: Kind, request: ChatRequest | EmbedRequest, keys: Keys, place: Sequence[str], steps: Steps
) -> Work:
    """A call in the lane of its model; the record begins with its tokens. Raises InvalidRequest."""
    lane = keys.lane(joined(model_part(request.model, kind), *place))
    await steps.give_way()
    fields = request.__pydantic_serializer__.to_python(request, exclude_defaults=True)
    await steps.give_way()
    try:
        record = _record(kind, [fields], {}, lane)
    except Unserializable as error:  # in metadata or extra, or half a character in a prompt
        raise InvalidRequest(str(error)) from None
    await steps.give_way()
    tokens = input_tokens(request), output_tokens(request)
    return lane, reserving(record, *tokens, len(request.fallbacks)), kind


def job_work(function: str, args: Sequence[Any], kwargs: dict[str, Any], lane: str) -> Work:
    """A job of any function in its lane, or in a queue of one's own; both by their keys.

    Not in arq's queue: a stock worker there that reads pickle would take it, and fail it.
    Raises Unserializable, and InvalidRequest if it is too large.
    """
    return lane, _record(function, args, kwargs, lane), function


def tickets(works: Sequence[Work], terms: Terms) -> Iterator[JobTicket]:
    """A ticket for each, under its id or a new one, made when it is asked for. Raises InvalidRequest at once."""
    job_ids, defer_s, deadline_s = terms.job_ids, terms.defer_s, terms.deadline_s
    ids = [urandom(ID_BYTES).hex() for _ in works] if job_ids is None else _checked(job_ids, len(works))
    if not (0 <= defer_s <= MAX_S and 0 < deadline_s <= MAX_S):  # not-a-number is refused, too
        raise InvalidRequest(
            "defer_s must not be negative, deadline_s must be above 0, and neither above ten years, in seconds."
        )
    head_start_ms = round(_head_start_s(terms.priority) * 1000)
    defer_ms, life_ms = round(defer_s * 1000) or -head_start_ms, ceil((defer_s + deadline_s) * 1000)
    return (
        JobTicket(id_, lane, record, defer_ms, life_ms, note_of(function, lane, deadline_s))
        for id_, (lane, record, function) in zip(ids, works, strict=True)
    )


def note_of(function: str, lane: str, deadline_s: float) -> bytes:
    """What is to be known of a job at its deadline, should it never start: its record is gone by then.

    Empty where it has a day or longer, as most have: a note of each would take as much room as a short prompt.
    """
    return unstarted_record(function, lane) if deadline_s < LIFE_S else b""


def _record(function: str, args: Sequence[Any], kwargs: dict[str, Any], lane: str) -> bytes:
    data = job_record(function, args, kwargs, lane, check_chars)
    check_size(data)
    return data


def _head_start_s(priority: Priority) -> float:
    head_start_s = HEAD_STARTS_S.get(priority) if isinstance(priority, str) else priority
    if not isinstance(head_start_s, int | float) or not 0 <= head_start_s <= MAX_HEAD_START_S:
        raise InvalidRequest(
            f"A priority is {', '.join(HEAD_STARTS_S)} or a head start of 0 to {MAX_HEAD_START_S:,.0f} "
            f"seconds, not {priority!r}."
        )
    return head_start_s


def _checked(job_ids: Sequence[str], count: int) -> list[str]:
    ids = [job_ids] if isinstance(job_ids, str) else list(job_ids)
    if len(ids) != count:
        raise InvalidRequest(f"There are {count} requests but {len(ids)} job ids.")
    for id_ in ids:
        if not isinstance(id_, str) or not id_:
            raise InvalidRequest(f"A job id must be a text that is not empty, not {id_!r}.")
        unicode_id(id_)
    return ids


def in_batches(all_: Iterable[JobTicket], most: int, most_bytes: int) -> Iterator[list[JobTicket]]:
    """At most so many at once, and so many bytes of payloads, but at least one."""
    batch: list[JobTicket] = []
    size_bytes = 0
    for ticket in all_:
        size_bytes += len(ticket.payload)
        if batch and (len(batch) == most or size_bytes > most_bytes):
            yield batch
            batch, size_bytes = [], len(ticket.payload)
        batch.append(ticket)
    if batch:
        yield batch
