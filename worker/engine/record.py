"""arq's records, read and written so that a strange one hurts nothing else."""

from __future__ import annotations

from typing import Annotated, Any

from arq.jobs import DeserializationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from client import decode, encode
from client.errors import JobFailed, Unserializable

UNREADABLE = (
    "The job could not be read, as it is no JSON record of a job, and no other worker took it before its deadline: "
    "enqueue it with client.Queue, or with an arq pool whose job_serializer is client.encode."
)


class Unread(Exception):
    """What was claimed is no JSON record of a job, and its deadline has not passed: it is left for another worker."""


class JobRecord(BaseModel):
    """A job as arq writes it."""

    model_config = ConfigDict(strict=True)

    f: str
    a: list[Any]
    k: dict[str, Any]
    t: int | None
    et: Annotated[int, Field(ge=0, le=253_402_300_799_000)]  # Unix ms, to the end of the year 9999


def read_job(data: bytes) -> JobRecord:
    """The job that was enqueued. Raises Unread on what is no job, pickle included, which is not loaded."""
    try:
        return JobRecord.model_validate(decode(data))
    except (ValueError, ValidationError):
        raise Unread from None


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
