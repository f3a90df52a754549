"""Following a job's answer while it is written, and after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

from ..errors import JobError, JobNotFound
from ..wire.events import START, Position, StreamEvent, read, text_of
from ..wire.schemas import Completion
from .followers import Follower
from .listener import Listener

Result: TypeAlias = Callable[[], Awaitable[Any]]  # what the job returned, or its error: it has ended


async def follow(
    job_id: str, listener: Listener, result: Result, after: Position
) -> AsyncGenerator[StreamEvent, None]:
    """As Job.stream."""
    follower = Follower(job_id, after)
    listener.followers.add(follower)
    ended = asyncio.ensure_future(listener.wait(job_id))
    ended.add_done_callback(partial(_tell, follower))
    try:
        while (entry := await follower.next()) is not None:
            seen, after = after, entry[0]
            event, follows = _event(*entry)
            if follows > seen:
                yield StreamEvent(text_of(follows), "truncated")
            yield event
            if event.is_last:
                return
        async for event in _by_its_result(result, after):
            yield event
    finally:
        ended.cancel()
        listener.followers.remove(follower)


def _event(at: Position, data: bytes) -> tuple[StreamEvent, Position]:
    """What cannot be read is as good as lost: the result is whole all the same."""
    try:
        return read(at, data)
    except (ValueError, KeyError, TypeError, AttributeError):
        return StreamEvent(text_of(at), "truncated"), START


def _tell(follower: Follower, result: asyncio.Future[bytes]) -> None:
    """The result is there, or it will never be."""
    error = None if result.cancelled() else result.exception()
    if error is None or isinstance(error, JobError):
        follower.end()
    else:
        follower.fail(error)


async def _by_its_result(result: Result, after: Position) -> AsyncGenerator[StreamEvent, None]:
    """The end of a stream that has none: the job was not streamed, or its last run was not, or was lost."""
    at, last = text_of((after[0], after[1] + 1)), text_of((after[0], after[1] + 2))
    try:
        answer = await result()
    except JobNotFound:
        raise
    except JobError as error:
        yield StreamEvent(at, "error", error=error)
        return
    if after[0]:
        yield StreamEvent(at, "truncated")
    elif not after[1] and isinstance(answer, Completion):
        calls = [{"index": index, **call} for index, call in enumerate(answer.tool_calls)]
        yield StreamEvent(at, "delta", answer.text, answer.reasoning or "", calls)
    yield StreamEvent(last, "done")
