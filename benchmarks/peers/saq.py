"""saq: its CLI, with asyncio's loop and with uvloop's; no bulk call but `enqueue`; `apply` waits for a result."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from saq import Queue

from benchmarks.job import work as _work
from benchmarks.system import (
    CONCURRENCY_VARIABLE,
    JOB_LIMIT_S,
    RESULT_LIMIT_S,
    URL_VARIABLE,
    System,
    Work,
    in_parallel,
)

_UVLOOP_VARIABLE = "BENCH_UVLOOP"


async def work(_ctx: Any, *, number: int, seconds: float, text: str) -> int:
    return await _work(number, seconds, text)


def __getattr__(name: str) -> Any:
    if name != "settings":
        raise AttributeError(name)
    if os.environ.get(_UVLOOP_VARIABLE):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return {
        "queue": Queue.from_url(os.environ[URL_VARIABLE]),
        "functions": [work],
        "concurrency": int(os.environ[CONCURRENCY_VARIABLE]),
    }


class SaqClient:
    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def enqueue(self, works: Sequence[Work]) -> None:
        await in_parallel(self.enqueue_one, works)

    async def enqueue_one(self, work: Work) -> None:
        await self._queue.enqueue("work", timeout=JOB_LIMIT_S, **_kwargs(work))

    async def call(self, work: Work) -> int:
        started_ns: int = await self._queue.apply("work", timeout=RESULT_LIMIT_S, **_kwargs(work))
        return started_ns

    async def close(self) -> None:
        await self._queue.disconnect()


def _kwargs(work: Work) -> dict[str, Any]:
    return {"number": work.number, "seconds": work.seconds, "text": work.text}


async def _connect(url: str) -> SaqClient:
    queue = Queue.from_url(url)
    await queue.connect()
    return SaqClient(queue)


def _system(name: str, **environment: str) -> System:
    return System(
        name=name,
        worker=lambda _concurrency, _url: ("saq", f"{__name__}.settings"),
        connect=_connect,
        packages=("saq", "uvloop") if environment else ("saq",),
        environment=lambda _concurrency, _url: environment,
    )


SYSTEMS = (_system("saq"), _system("saq+uvloop", **{_UVLOOP_VARIABLE: "1"}))
