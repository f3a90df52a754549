"""Stock arq: its CLI, a settings class of its own, one `enqueue_job` a job; results are polled each 0.5 s."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from arq import ArqRedis, create_pool
from arq.connections import RedisSettings

from benchmarks.job import work as _work
from benchmarks.system import CONCURRENCY_VARIABLE, RESULT_LIMIT_S, URL_VARIABLE, System, Work, in_parallel


async def work(_ctx: dict[str, Any], number: int, seconds: float, text: str) -> int:
    return await _work(number, seconds, text)


def __getattr__(name: str) -> Any:
    if name != "WorkerSettings":
        raise AttributeError(name)
    return type(
        name,
        (),
        {
            "functions": [work],
            "redis_settings": RedisSettings.from_dsn(os.environ[URL_VARIABLE]),
            "max_jobs": int(os.environ[CONCURRENCY_VARIABLE]),
            "log_results": False,
        },
    )


class ArqClient:
    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis

    async def enqueue(self, works: Sequence[Work]) -> None:
        await in_parallel(self.enqueue_one, works)

    async def enqueue_one(self, work: Work) -> None:
        await self._redis.enqueue_job("work", *work.arguments)

    async def call(self, work: Work) -> int:
        job = await self._redis.enqueue_job("work", *work.arguments)
        assert job is not None
        started_ns: int = await job.result(RESULT_LIMIT_S)
        return started_ns

    async def close(self) -> None:
        await self._redis.aclose()


async def _connect(url: str) -> ArqClient:
    return ArqClient(await create_pool(RedisSettings.from_dsn(url)))


SYSTEMS = (
    System(
        name="arq",
        worker=lambda _concurrency, _url: ("arq", f"{__name__}.WorkerSettings"),
        connect=_connect,
        packages=("arq",),
    ),
)
