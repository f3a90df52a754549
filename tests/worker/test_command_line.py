"""The worker as arq's own CLI and a Procfile start it."""

from __future__ import annotations

import sys

from client import Queue
from tests.conftest import Server
from tests.worker.processes import READY, ROOT, Processes, Provider

SOON_S = 15

LOGGING = """
import worker

lines = {
    "version": 1,
    "formatters": {"mine": {"format": "MINE %(name)s %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "mine"}},
    "loggers": {"arq": {"handlers": ["out"], "level": "INFO"}},
}
"""


async def test_burst_ends_when_the_queue_is_empty_and_logs_as_it_is_told(
    own_server: Server, own_queue: Queue, processes: Processes, provider: Provider
) -> None:
    jobs = await own_queue.chat_many([f"Prompt {n}" for n in range(5)])
    (processes.directory / "my_logging.py").write_text(LOGGING)
    worker = processes.arq(
        *("--burst", "--custom-log-dict", "my_logging.lines"), **provider.settings(), REDIS_URL=own_server.url
    )
    assert await worker.ended(SOON_S) == 0, worker.text()
    assert [(await job.result(1)).finish_reason for job in jobs] == ["stop"] * 5
    assert "MINE arq.worker Starting worker for 2 functions: chat, embed" in worker.text()


async def test_check_tells_whether_a_worker_is_alive(
    own_server: Server, own_queue: Queue, processes: Processes, provider: Provider
) -> None:
    settings = {**provider.settings(), "REDIS_URL": own_server.url}
    without = processes.arq("--check", **settings)
    assert await without.ended(SOON_S) == 1
    worker = await processes.worker(**settings)
    assert await processes.arq("--check", **settings).ended(SOON_S) == 0
    worker.terminate()
    assert await worker.ended(SOON_S) == 0, worker.text()
    assert not await own_queue.workers_alive()
    assert "Traceback" not in worker.text() + without.text()


async def test_the_procfile_runs_a_worker_that_stops_on_term(
    own_server: Server, own_queue: Queue, processes: Processes, provider: Provider
) -> None:
    honcho = processes.start(
        [sys.executable, "-m", "honcho", "start"],
        {**provider.settings(), "REDIS_URL": own_server.url},
        cwd=ROOT,
    )
    try:
        await honcho.wrote(READY)
        assert "Hello" in (await (await own_queue.chat("Hello")).result(SOON_S)).text
    finally:  # a honcho that is killed leaves its processes behind
        honcho.terminate()
        await honcho.ended(SOON_S)
    await honcho.wrote("shutdown on SIGTERM")
    assert not await own_queue.workers_alive()
    assert "Traceback" not in honcho.text()
