"""The stock command line of arq runs our engine, with everything it can do."""

from __future__ import annotations

import signal
import subprocess
import sys

from client import Queue
from tests.conftest import Server, wait_until
from tests.engine.rig import ROOT, Workers


async def test_the_stock_command_line_runs_our_engine(server: Server, workers: Workers, queue: Queue) -> None:
    await workers.start(server)
    assert await (await queue.enqueue("which")).result(5) == ["worker.engine.worker.Engine"]


def test_a_module_of_jobs_leaves_arq_as_it_is() -> None:
    code = "from worker import job; import arq.worker as w; print(w.Worker.__module__, w.Worker.__name__)"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "arq.worker Worker"


async def test_burst_runs_what_there_is_and_ends(server: Server, workers: Workers, queue: Queue) -> None:
    jobs = [await queue.enqueue("nap", 0.01) for _ in range(5)]
    process = workers.launch("--burst", REDIS_URL=server.url)
    assert await process.ended() == 0
    assert [await job.result(1) for job in jobs] == [1] * 5


async def test_check_tells_whether_a_worker_lives(server: Server, workers: Workers, queue: Queue) -> None:
    assert await workers.launch("--check", REDIS_URL=server.url).ended() == 1
    await workers.start(server)
    await wait_until(queue.workers_alive, description="the health check")
    assert await workers.launch("--check", REDIS_URL=server.url).ended() == 0


async def test_watch_starts_again_when_a_file_changes(server: Server, workers: Workers, queue: Queue) -> None:
    watched = workers.directory / "watched"
    watched.mkdir()
    process = await workers.start(server, "--watch", str(watched))

    def reloaded() -> bool:
        (watched / "module.py").write_text(f"# {process.text().count('reloading')}")
        return "reloading" in process.text()

    job = await queue.enqueue("nap", 1)
    await workers.started(1)
    await wait_until(reloaded, description="it notices the change")
    await process.wrote("jobs at once", times=2)
    assert await job.result(10) == 1  # handed back, no try used
    process.send(signal.SIGTERM)
    assert await process.ended() == 0
    assert "Traceback" not in process.text()


async def test_a_log_configuration_of_ones_own_is_used(
    server: Server, workers: Workers, queue: Queue
) -> None:
    (workers.directory / "mylogs.py").write_text(
        "conf = {'version': 1, 'formatters': {'f': {'format': 'MINE %(message)s'}},"
        " 'handlers': {'h': {'class': 'logging.StreamHandler', 'formatter': 'f'}},"
        " 'loggers': {'arq': {'handlers': ['h'], 'level': 'INFO'}}}"
    )
    process = workers.launch("--custom-log-dict", "mylogs.conf", REDIS_URL=server.url)
    await process.wrote("MINE Starting worker")
