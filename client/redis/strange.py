"""Keys of another type than ours: to a reader, who moves nothing, they hold nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import ResponseError


def is_strange(reply: object) -> bool:
    """Whether Redis says that a key holds another type."""
    return isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply)


def or_nothing(reply: Any) -> Any:
    """A reply of a pipeline that raised nothing; None where a key holds another type. Raises any other error."""
    if is_strange(reply):
        return None
    if isinstance(reply, Exception):
        raise reply
    return reply


@contextmanager
def nothing_if_strange() -> Iterator[None]:
    """Ends the block where a key holds another type."""
    try:
        yield
    except ResponseError as error:
        if not is_strange(error):
            raise
