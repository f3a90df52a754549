"""The LLM call as a job for workers with threads, and those workers: celery and dramatiq, as their tutorials begin.

The call is httpx's, with one client for all threads. Settings are the systems' defaults.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import httpx

from benchmarks.flow.mill import PROMPT
from benchmarks.system import URL_VARIABLE, Client, System, Work

from .calls import KEY, MODEL, PATIENCE_S

PROVIDER_VARIABLE = "BENCH_PROVIDER_URL"
THREADS = 25


def ask(number: int) -> str:
    """One call, which blocks. Raises where the provider does not answer."""
    headers = {"authorization": f"Bearer {KEY}", "x-client-request-id": f"{number}:1"}
    body = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}
    url = f"{os.environ[PROVIDER_VARIABLE]}/chat/completions"
    reply = _http().post(url, json=body, headers=headers)
    reply.raise_for_status()
    text: str = reply.json()["choices"][0]["message"]["content"]
    return text


@cache
def _http() -> httpx.Client:
    return httpx.Client(timeout=PATIENCE_S)


def _celery(url: str) -> Any:
    from celery import Celery

    app = Celery("bench", broker=url, backend=url)
    app.task(ask, name="ask")
    app.finalize()
    return app


def _dramatiq(url: str) -> tuple[Any, Any]:
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker = RedisBroker(url=url)
    broker.add_middleware(Results(backend=RedisBackend(url=url)))
    dramatiq.set_broker(broker)
    actor: Any = dramatiq.actor(actor_name="ask", broker=broker, store_results=True)
    return broker, actor(ask)


def __getattr__(name: str) -> Any:
    """What their CLIs look for."""
    if name == "app":
        return _celery(os.environ[URL_VARIABLE])
    if name == "broker":
        return _dramatiq(os.environ[URL_VARIABLE])[0]
    raise AttributeError(name)


class _Producer:
    """Enqueues, and no more: what has become of the calls is the provider's to say."""

    def __init__(self, send: Any, close: Any) -> None:
        self._send = send
        self._close = close

    async def enqueue(self, works: Sequence[Work]) -> None:
        for work in works:
            self._send(work.number)

    async def enqueue_one(self, work: Work) -> None:
        self._send(work.number)

    async def call(self, work: Work) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        self._close()


async def _to_celery(url: str) -> Client:
    app = _celery(url)
    return _Producer(app.tasks["ask"].delay, app.close)


async def _to_dramatiq(url: str) -> Client:
    broker, actor = _dramatiq(url)
    return _Producer(actor.send, broker.close)


def celery(provider_url: str) -> System:
    quiet = ("--without-gossip", "--without-mingle", "--loglevel", "ERROR")

    def worker(threads: int, _url: str) -> Sequence[str]:
        pool = ("--pool", "threads", "--concurrency", str(threads))
        return "celery", "--app", f"{__name__}:app", "worker", *pool, *quiet

    return System("celery", worker, _to_celery, environment=lambda *_: {PROVIDER_VARIABLE: provider_url})


def dramatiq(provider_url: str) -> System:
    def worker(threads: int, _url: str) -> Sequence[str]:
        return "dramatiq", "--processes", "1", "--threads", str(threads), f"{__name__}:broker"

    return System("dramatiq", worker, _to_dramatiq, environment=lambda *_: {PROVIDER_VARIABLE: provider_url})
