"""celery: its CLI with a pool of threads (no other pool of one process holds 500 jobs); `delay` and `get`."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from typing import Any

from celery import Celery

from benchmarks.job import work_in_thread
from benchmarks.system import RESULT_LIMIT_S, URL_VARIABLE, System, Work


def _app(url: str) -> Celery:
    app = Celery("bench", broker=url, backend=url)
    app.conf.result_backend_transport_options = {"retry_policy": {"timeout": 5.0}}
    app.task(work_in_thread, name="work")
    app.finalize()
    return app


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    return _app(os.environ[URL_VARIABLE])


class CeleryClient:
    """Its calls block: nothing else runs in this process meanwhile."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._task = app.tasks["work"]

    async def enqueue(self, works: Sequence[Work]) -> None:
        for work in works:
            self._task.delay(*work.arguments)

    async def enqueue_one(self, work: Work) -> None:
        self._task.delay(*work.arguments)

    async def call(self, work: Work) -> int:
        started_ns: int = self._task.delay(*work.arguments).get(timeout=RESULT_LIMIT_S)
        return started_ns

    async def close(self) -> None:
        gc.collect()  # results that are collected after the server has gone would look for it for minutes
        self._app.close()


async def _connect(url: str) -> CeleryClient:
    return CeleryClient(_app(url))


def _worker(concurrency: int, _url: str) -> Sequence[str]:
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR")
    pool = ("--pool", "threads", "--concurrency", str(concurrency))
    return "celery", "--app", f"{__name__}:app", "worker", *pool, *quiet


SYSTEMS = (System(name="celery", worker=_worker, connect=_connect, packages=("celery",), in_threads=True),)
