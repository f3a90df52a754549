"""Python objects ↔ the bytes in Redis: JSON, both ways. Pickle is never read.

Give both functions to a plain arq pool and it speaks with our workers:

    create_pool(settings, job_serializer=encode, job_deserializer=decode)

Arguments and results are JSON data, pydantic models and dataclasses; what these hold is written as pydantic writes it.
A bare datetime, UUID, set or the like is refused (plain.py). What comes back is plain JSON data, with three
exceptions that arrive as what they were: Completion, Embeddings and the errors of `errors.py`. A job that was aborted
arrives as asyncio.CancelledError, because that is what `arq.jobs.Job.abort` looks for.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from ..errors import (
    WIRE_TAG,
    JobAborted,
    JobError,
    JobExpired,
    JobFailed,
    JobTimedOut,
    TriesExhausted,
    UnknownFunction,
    Unserializable,
    from_wire,
)
from .plain import MOST_LOOKED_AT, look_through, refusal
from .readable import TOO_DEEP, check_readable
from .schemas import Completion, Embeddings
from .splices import Splices
from .vectors import CONTEXT_KEY

_MODELS: dict[str, type[BaseModel]] = {
    "promptmill.completion": Completion,
    "promptmill.embeddings": Embeddings,
}
_RESULT = "r"  # the field of arq's result record that holds what the job returned or raised


def encode(data: dict[str, Any], *, check_chars: Callable[[int], None] | None = None) -> bytes:
    """An arq job or result record as JSON, which can be read back. Raises Unserializable, saying what cannot.

    `check_chars` is told how many characters its texts have, before they are copied: it may raise.
    """
    refused: list[Unserializable] = []  # pydantic wraps what its fallback raises

    def fallback(value: Any) -> Any:
        if isinstance(value, BaseException):
            return describe(value).to_wire()
        refused.append(refusal(value))
        raise refused[0]

    # the arguments beside a result came from JSON
    looked_at = [data[_RESULT]] if _RESULT in data else [data.get("a"), data.get("k")]
    size_chars, not_plain = look_through(looked_at)
    if check_chars is not None:
        check_chars(size_chars)
    splices = Splices()
    try:
        json = to_json(data, fallback=fallback, context={CONTEXT_KEY: splices.take})
    except PydanticSerializationError as error:
        raise (refused[0] if refused else _unwritten(error)) from None
    if not_plain is None and len(looked_at) > MOST_LOOKED_AT:
        _, not_plain = look_through(looked_at[MOST_LOOKED_AT:], sys.maxsize)
    if not_plain is not None:
        raise not_plain
    check_readable(json)
    return splices.put_in(json)


def decode(data: bytes) -> dict[str, Any]:
    """The record that `encode` wrote. Raises ValueError on anything but JSON, pickle included."""
    splices = Splices()
    record = _read(splices.cut_out(data), splices)
    return record if splices.all_used else _read(data, splices)  # what looked like vectors was data


def _read(data: bytes, splices: Splices) -> dict[str, Any]:
    record: dict[str, Any] = from_json(data)
    if not isinstance(record, dict):
        raise ValueError("The record is not a JSON object.")
    if _RESULT in record:
        record[_RESULT] = _revive(record[_RESULT], splices)
    return record


def describe(error: BaseException) -> JobError:
    """Any exception as the JobError that stands for it: the one place foreign errors are translated."""
    if isinstance(error, JobError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return JobAborted(str(error) or "The job was aborted.")
    if type(error) is TimeoutError:  # a subclass, such as ResultTimeout, is the job's own affair
        return JobTimedOut(f"The job ran longer than its timeout. {error}".rstrip())
    name, message = type(error).__name__, str(error)
    if name == "JobExecutionFailed":  # arq's one class for several endings; its words tell which
        return _describe_arq(message)
    return JobFailed(f"{name}: {message}" if message else name, error_type=name)


def _describe_arq(message: str) -> JobError:
    if message == "job expired":
        return JobExpired("The job was not started before its deadline.")
    if message.endswith("retries exceeded"):
        return TriesExhausted(f"The job failed on every try: {message}.")
    if message.endswith("not found"):
        return UnknownFunction(f"No worker knows it: {message}. Name its module in JOB_MODULES.")
    return JobFailed(message)


def _unwritten(error: PydanticSerializationError) -> Unserializable:
    reason = str(error).removeprefix("Error serializing to JSON: ")
    if "Maximum serialization depth" in reason:
        return Unserializable(TOO_DEEP)
    return Unserializable(f"This cannot be written as JSON: {reason}.")


def _revive(value: Any, splices: Splices) -> Any:
    if isinstance(value, list):
        return [_revive(item, splices) for item in value] if _may_hold_tagged(value) else value
    if not isinstance(value, dict):
        return value
    tag = value.get("object")
    if tag == WIRE_TAG:
        error = from_wire(value)
        return asyncio.CancelledError(error.message) if isinstance(error, JobAborted) else error
    if isinstance(tag, str) and tag in _MODELS:
        try:
            return _MODELS[tag].model_validate(splices.filled_in(value))
        except ValidationError:  # a field from another version: the data is worth more than the type
            splices.is_in_doubt = True
            return value
    return {key: _revive(item, splices) for key, item in value.items()}


def _may_hold_tagged(items: list[Any]) -> bool:
    """Lists of numbers (vectors) are not walked item by item."""
    return not {dict, list}.isdisjoint(map(type, items))
