"""Following a job's answer while it is written, and after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import JobError, JobNotFound
from ..wire.events import START, Position, StreamEvent, position, read, text_of
from ..wire.schemas import Completion
from .followers import Follower

if TYPE_CHECKING:
    from ..job import Job
    from .listener import Listener


def follow(job: Job[Any], listener: Listener, after: str | None) -> AsyncGenerator[StreamEvent, None]:
    """As Job.stream."""
    return _follow(job, listener, position(after) if after else START)


async def _follow(job: Job[Any], listener: Listener, after: Position) -> AsyncGenerator[StreamEvent, None]:
    follower = Follower(job.id, after)
    listener.followers.add(follower)
    result = asyncio.ensure_future(listener.wait(job.id))
    result.add_done_callback(partial(_tell, follower))
    try:
        while (entry := await follower.next()) is not None:
            seen, after = after, entry[0]
            event, follows = read(*entry)
            if follows > seen:
                yield StreamEvent(text_of(follows), "truncated")
            yield event
            if event.is_last:
                return
        async for event in _by_its_result(job, after):
            yield event
    finally:
        result.cancel()
        listener.followers.remove(follower)


def _tell(follower: Follower, result: asyncio.Future[bytes]) -> None:
    """The result is there, or it will never be."""
    error = None if result.cancelled() else result.exception()
    if error is None or isinstance(error, JobError):
        follower.end()
    else:
        follower.fail(error)


async def _by_its_result(job: Job[Any], after: Position) -> AsyncGenerator[StreamEvent, None]:
    """The end of a stream that has none: the job was not streamed, or its last run was not, or was lost."""
    at, last = text_of((after[0], after[1] + 1)), text_of((after[0], after[1] + 2))
    try:
        result = await job.result(0)
    except JobNotFound:
        raise
    except JobError as error:
        yield StreamEvent(at, "error", error=error)
        return
    if after[0]:
        yield StreamEvent(at, "truncated")
    elif not after[1] and isinstance(result, Completion):
        calls = [{"index": index, **call} for index, call in enumerate(result.tool_calls)]
        yield StreamEvent(at, "delta", result.text, result.reasoning or "", calls)
    yield StreamEvent(last, "done")
