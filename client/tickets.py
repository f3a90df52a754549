"""A call and its options → the tickets that the enqueue script takes. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from time import time_ns
from typing import Any
from uuid import uuid4

from .codec import decode, encode
from .errors import InvalidRequest, JobAborted
from .requests import check_size

LIFE_S = 86_400.0  # how long a job may wait to be started, and tried again, by default
MAX_S = 10 * 365 * 86_400  # ten years: a longer wait or life is a mistake in the unit


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job on its way into the queue."""

    job_id: str
    payload: bytes
    defer_ms: int
    life_ms: int


def payload(function: str, args: Sequence[Any], kwargs: dict[str, Any]) -> bytes:
    """The job as arq's record. Raises Unserializable, and InvalidRequest where it is too large."""
    data = encode({"t": None, "f": function, "a": args, "k": kwargs, "et": _now_ms()})
    check_size(data)
    return data


def tickets(
    payloads: Sequence[bytes], job_ids: Sequence[str] | None, defer_s: float, deadline_s: float
) -> list[Ticket]:
    """A ticket for each payload, under its id or a new one. Raises InvalidRequest."""
    ids = [uuid4().hex for _ in payloads] if job_ids is None else _checked(job_ids, len(payloads))
    if not (0 <= defer_s <= MAX_S and 0 < deadline_s <= MAX_S):  # not-a-number is refused, too
        raise InvalidRequest(
            "defer_s must not be negative, deadline_s must be above 0, and neither above ten years, in seconds."
        )
    defer_ms, life_ms = round(defer_s * 1000), ceil((defer_s + deadline_s) * 1000)
    return [Ticket(id_, data, defer_ms, life_ms) for id_, data in zip(ids, payloads, strict=True)]


def aborted_record(job_id: str, queue: str, data: bytes | None) -> bytes:
    """The result of a job that was aborted before it started; `data` is its payload."""
    try:
        job = decode(data) if data else {}
    except ValueError:  # pickled by a stranger: aborted all the same
        job = {}
    at_ms = _now_ms()
    return encode(
        {
            "t": 0,
            "f": job.get("f", ""),
            "a": [],
            "k": {},
            "et": job.get("et", at_ms),
            "s": False,
            "r": JobAborted("The job was aborted before it started."),
            "st": at_ms,
            "ft": at_ms,
            "q": queue,
            "id": job_id,
        }
    )


def _now_ms() -> int:
    return time_ns() // 1_000_000


def _checked(job_ids: Sequence[str], count: int) -> list[str]:
    ids = [job_ids] if isinstance(job_ids, str) else list(job_ids)
    if len(ids) != count:
        raise InvalidRequest(f"There are {count} requests but {len(ids)} job ids.")
    for id_ in ids:
        if not isinstance(id_, str) or not id_:
            raise InvalidRequest(f"A job id must be a text that is not empty, not {id_!r}.")
        try:
            id_.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(f"The job id {id_!r} is not valid Unicode.") from None
    return ids
