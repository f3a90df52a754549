"""arq's records, read and written so that a strange one hurts nothing else."""

from __future__ import annotations

from typing import Any, NamedTuple

from arq.jobs import DeserializationError

from client import decode, encode
from client.errors import JobFailed, Unserializable
from client.wire.record import LAST_MS

UNREADABLE = (
    "The job could not be read, as it is no JSON record of a job, and no other worker took it before its deadline: "
    "enqueue it with client.Queue, or with an arq pool whose job_serializer is client.encode."
)


_KINDS = {(str, list, dict, t, int) for t in (int, type(None))}  # of a record's fields


class Unread(Exception):
    """What was claimed is no JSON record of a job, and its deadline has not passed: it is left for another worker."""


class JobRecord(NamedTuple):
    """A job as arq writes it."""

    f: str
    a: list[Any]
    k: dict[str, Any]
    t: int | None
    et: int  # Unix ms


def read_job(data: bytes) -> JobRecord:
    """The job that was enqueued. Raises Unread on what is no job, pickle included, which is not loaded."""
    try:
        told = decode(data)
        job = JobRecord(told["f"], told["a"], told["k"], told["t"], told["et"])
    except (ValueError, KeyError):
        raise Unread from None
    if tuple(map(type, job)) not in _KINDS or not 0 <= job.et <= LAST_MS:
        raise Unread
    return job


def never_read() -> JobFailed:
    """What a job that nobody could read has come to at its deadline."""
    return JobFailed(UNREADABLE, error_type=DeserializationError.__name__)


def write_result(record: dict[str, Any]) -> bytes:
    """arq's record of a result. One that is not JSON becomes an error that says so."""
    try:
        return encode(record)
    except (Unserializable, ValueError) as error:  # ValueError: bytes that are no text, a list in itself
        cause = error if isinstance(error, Unserializable) else Unserializable(f"It is not JSON: {error}.")
        return encode(record | {"s": False, "r": cause})
