"""dramatiq: its CLI, one process of threads; `send` and the Results middleware's `get_result(block=True)`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.job import work_in_thread
from benchmarks.system import RESULT_LIMIT_S, URL_VARIABLE, System, Work


def _broker(url: str) -> tuple[RedisBroker, dramatiq.Actor[Any, Any]]:
    broker = RedisBroker(url=url)
    broker.add_middleware(Results(backend=RedisBackend(url=url)))
    dramatiq.set_broker(broker)
    actor: dramatiq.Actor[Any, Any] = dramatiq.actor(
        work_in_thread, actor_name="work", broker=broker, store_results=True
    )
    return broker, actor


def __getattr__(name: str) -> Any:
    if name != "broker":
        raise AttributeError(name)
    return _broker(os.environ[URL_VARIABLE])[0]


class DramatiqClient:
    """Its calls block: nothing else runs in this process meanwhile."""

    def __init__(self, broker: RedisBroker, actor: dramatiq.Actor[Any, Any]) -> None:
        self._broker = broker
        self._actor = actor

    async def enqueue(self, works: Sequence[Work]) -> None:
        for work in works:
            self._actor.send(*work.arguments)

    async def enqueue_one(self, work: Work) -> None:
        self._actor.send(*work.arguments)

    async def call(self, work: Work) -> int:
        message = self._actor.send(*work.arguments)
        started_ns: int = message.get_result(block=True, timeout=RESULT_LIMIT_S * 1000)
        return started_ns

    async def close(self) -> None:
        self._broker.close()


async def _connect(url: str) -> DramatiqClient:
    return DramatiqClient(*_broker(url))


def _worker(concurrency: int, _url: str) -> Sequence[str]:
    return "dramatiq", "--processes", "1", "--threads", str(concurrency), f"{__name__}:broker"


SYSTEMS = (
    System(name="dramatiq", worker=_worker, connect=_connect, packages=("dramatiq",), in_threads=True),
)
