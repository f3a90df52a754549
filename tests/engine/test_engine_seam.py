"""The stock command line of arq runs our engine; tests/worker has what else it can do."""

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
