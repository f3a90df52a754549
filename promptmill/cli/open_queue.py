"""The queue a command works on, and the server behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from client import Queue
from settings import load

from .interrupts import run_command
from .stack import Stack, open_stack

T = TypeVar("T")


@asynccontextmanager
async def open_queue(
    owner: str, *, worker: bool = False, simulate: bool = False
) -> AsyncIterator[tuple[Queue, Stack]]:
    """The queue of this process's settings. Without REDIS_URL and without a running stack, the private
    server is brought up for as long as the block lasts, with a worker where asked for.

    Raises SettingsError, StackError, MillError.
    """
    async with open_stack(load(), worker=worker, simulate=simulate, owner=owner) as stack:
        cert_reqs = stack.settings.redis_ssl_cert_reqs
        async with Queue.from_url(stack.redis_url, ssl_cert_reqs=cert_reqs) as queue:
            yield queue, stack


def with_queue(owner: str, verb: Callable[[Queue], Awaitable[T]]) -> T:
    """What `verb` returns of the queue, as `open_queue` gives it."""

    async def run() -> T:
        async with open_queue(owner) as (queue, _):
            return await verb(queue)

    return run_command(run())


def no_worker_hint(stack: Stack) -> str:
    """What starts a worker for this stack."""
    start = "arq worker.WorkerSettings" if stack.kind == "given" else "promptmill up"
    return f"no worker is running: start one with `{start}`"
