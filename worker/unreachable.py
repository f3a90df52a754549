"""Which errors mean that Redis cannot be reached, or cannot write for now. A leaf."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions as redis_errors

UNREACHABLE = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.OutOfMemoryError,  # nothing can be written until results expire
    OSError,
)
# A server that cannot write for now: its memory, its disk or its replicas. Redis before 7 hides these words in an
# error of the script.
_REFUSALS = {
    "OOM ": redis_errors.OutOfMemoryError,
    "READONLY ": redis_errors.ReadOnlyError,
    "MISCONF ": redis_errors.ReadOnlyError,
    "NOREPLICAS ": redis_errors.ReadOnlyError,
}


@contextmanager
def as_unreachable() -> Iterator[None]:
    """Turns a server's refusal to write, from a script as well, into one of UNREACHABLE."""
    try:
        yield
    except redis_errors.ResponseError as error:
        for word, kind in _REFUSALS.items():
            if word in str(error):
                raise kind(str(error)) from None
        raise
