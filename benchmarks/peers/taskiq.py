"""taskiq on Redis streams: its CLI, on uvloop where that is installed; `kiq`; `wait_result` looks every 0.2 s."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from taskiq import AsyncTaskiqDecoratedTask
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.job import work as _work
from benchmarks.system import RESULT_LIMIT_S, URL_VARIABLE, System, Work, in_parallel


async def work(number: int, seconds: float, text: str) -> int:
    """taskiq renames the function it is given: this one is its own."""
    return await _work(number, seconds, text)


def _broker(url: str) -> tuple[RedisStreamBroker, AsyncTaskiqDecoratedTask[..., Any]]:
    broker = RedisStreamBroker(url).with_result_backend(RedisAsyncResultBackend(url))
    return broker, broker.register_task(work, task_name="work")


def __getattr__(name: str) -> Any:
    if name != "broker":
        raise AttributeError(name)
    return _broker(os.environ[URL_VARIABLE])[0]


class TaskiqClient:
    def __init__(self, broker: RedisStreamBroker, task: AsyncTaskiqDecoratedTask[..., Any]) -> None:
        self._broker = broker
        self._task = task

    async def enqueue(self, works: Sequence[Work]) -> None:
        await in_parallel(self.enqueue_one, works)

    async def enqueue_one(self, work: Work) -> None:
        await self._task.kiq(*work.arguments)

    async def call(self, work: Work) -> int:
        handle = await self._task.kiq(*work.arguments)
        started_ns: int = (await handle.wait_result(timeout=RESULT_LIMIT_S)).return_value
        return started_ns

    async def close(self) -> None:
        await self._broker.shutdown()


async def _connect(url: str) -> TaskiqClient:
    broker, task = _broker(url)
    await broker.startup()
    return TaskiqClient(broker, task)


def _worker(concurrency: int, _url: str) -> Sequence[str]:
    options = ("--workers", "1", "--max-async-tasks", str(concurrency), "--log-level", "WARNING")
    return "taskiq", "worker", *options, f"{__name__}:broker"


SYSTEMS = (
    System(
        name="taskiq+uvloop",
        worker=_worker,
        connect=_connect,
        packages=("taskiq", "taskiq-redis", "uvloop"),
    ),
)
