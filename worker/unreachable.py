"""Which errors mean that Redis cannot be reached, or cannot write for now. A leaf."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from redis import exceptions as redis_errors

FIRST_RETRY_S, LAST_RETRY_S = 0.1, 0.5

_T = TypeVar("_T")

UNREACHABLE = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.OutOfMemoryError,  # nothing can be written until results expire
    redis_errors.NoPermissionError,  # a right was taken away while the worker runs: it may be granted again
    OSError,
)
# A server that cannot write for now: its memory, its disk or its replicas; or that does not let its user. Redis before
# 7 hides these words in an error of the script.
_REFUSALS = {
    "OOM ": redis_errors.OutOfMemoryError,
    "READONLY ": redis_errors.ReadOnlyError,
    "MISCONF ": redis_errors.ReadOnlyError,
    "NOREPLICAS ": redis_errors.ReadOnlyError,
    **dict.fromkeys(("NOPERM", "ACL failure in script", "script can't"), redis_errors.NoPermissionError),
}


@contextmanager
def as_unreachable() -> Iterator[None]:
    """Turns a server's refusal to write, from a script as well, into one of UNREACHABLE."""
    try:
        yield
    except redis_errors.NoPermissionError:
        raise
    except redis_errors.ResponseError as error:
        for word, kind in _REFUSALS.items():
            if word in str(error):
                raise kind(str(error)) from None
        raise


async def outlasting(ask: Callable[[], Awaitable[_T]]) -> _T:
    """What `ask` returns, called until Redis can be reached. It must do no harm twice. Cancelling ends it."""
    delay_s = FIRST_RETRY_S
    while True:
        try:
            with as_unreachable():
                return await ask()
        except UNREACHABLE:
            await asyncio.sleep(delay_s)
            delay_s = min(LAST_RETRY_S, 2 * delay_s)
