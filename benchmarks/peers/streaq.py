"""streaq: its CLI, on uvloop through anyio's option for it; `enqueue_many` and `Task.result`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from streaq import Worker

from benchmarks.job import work
from benchmarks.system import CONCURRENCY_VARIABLE, RESULT_LIMIT_S, URL_VARIABLE, System, Work


def __getattr__(name: str) -> Any:
    if name != "worker":
        raise AttributeError(name)
    worker = Worker[Any](
        os.environ[URL_VARIABLE],
        concurrency=int(os.environ[CONCURRENCY_VARIABLE]),
        anyio_kwargs={"use_uvloop": True},
    )
    worker.task(work)
    return worker


class StreaqClient:
    """Entered and left by one task, as anyio asks."""

    def __init__(self, worker: Worker[Any]) -> None:
        self._worker = worker
        self._task = worker.task(work)

    async def enqueue(self, works: Sequence[Work]) -> None:
        await self._worker.enqueue_many([self._task.enqueue(*work.arguments) for work in works])

    async def enqueue_one(self, work: Work) -> None:
        await self._task.enqueue(*work.arguments)

    async def call(self, work: Work) -> int:
        task = await self._task.enqueue(*work.arguments)
        started_ns: int = (await task.result(RESULT_LIMIT_S)).result
        return started_ns

    async def close(self) -> None:
        await self._worker.__aexit__(None, None, None)


async def _connect(url: str) -> StreaqClient:
    worker = Worker[Any](url)
    client = StreaqClient(worker)
    await worker.__aenter__()
    return client


SYSTEMS = (
    System(
        name="streaq+uvloop",
        worker=lambda _concurrency, _url: ("streaq", "run", f"{__name__}:worker"),
        connect=_connect,
        packages=("streaq", "uvloop"),
    ),
)
