"""docs/from-arq.md does what it says: its stock project, the same on promptmill's worker, and both side by side."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from arq import ArqRedis, create_pool

from client import Queue, decode, encode, redis_settings
from client.wire.keys import KEYS
from promptmill.cli.stats import read_stats
from tests.conftest import Server, wait_until
from tests.worker.processes import READY, Process

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from-arq.md").read_text()
FILES = {name: text for text, name in re.findall(r'```python\n("""(\w+)\.py: .*?)```', PAGE, re.DOTALL)}
STOCK = "tasks.WorkerSettings"
WAYS = {"a class": ("moved.WorkerSettings", ""), "decorators": ("worker.WorkerSettings", "my_tasks")}
SOON_S = 10


class Project:
    """The page's files in a directory, and the workers that were started there."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory, self.server = directory, server
        self.all: list[Process] = []
        for name, text in FILES.items():
            (directory / f"{name}.py").write_text(text)

    def launch(self, named: str, modules: str = "") -> Process:
        log = self.directory / f"{len(self.all)}.log"
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{self.directory}",
            "REDIS_URL": self.server.url,
        }
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", "arq", named],
                cwd=self.directory,
                env=env | {"JOB_MODULES": modules},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.all.append(Process(popen, log))
        return self.all[-1]

    async def start(self, named: str, modules: str = "", ready: str = READY) -> Process:
        process = self.launch(named, modules)
        await process.wrote(ready)
        return process

    def end(self) -> None:
        for process in self.all:
            if process.alive:
                process.popen.kill()
            process.popen.wait(10)


@pytest.fixture
def project(tmp_path: Path, own_server: Server) -> Iterator[Project]:
    project = Project(tmp_path, own_server)
    yield project
    project.end()


@pytest.fixture
async def pickling(own_server: Server) -> AsyncIterator[ArqRedis]:
    """A stock producer."""
    pool = await create_pool(redis_settings(own_server.url))
    yield pool
    await pool.aclose(close_connection_pool=True)


async def does_its_work(process: Process, enqueue: Any) -> None:
    """What the project did before, it does: functions, retries, a chain, cron jobs, hooks."""
    assert await (await enqueue("greet", "Ada", _job_id="a")) == "Hello Ada"
    assert await (await enqueue("flaky", 7, _job_id="b")) == 7
    await (await enqueue("chain", "Bob", _job_id="c"))
    for line in (
        "startup",
        "start a 1",
        "end a",
        "after a",
        "start b 3",
        "start greet-Bob 1",
        "after greet-Bob",
    ):
        await wait_until(lambda line=line: line in said(process), description=line)  # type: ignore[misc]
    await wait_until(lambda: said(process).count("tick Hello") >= 2, description="two ticks")


async def shuts_down(process: Process) -> None:
    process.send(signal.SIGTERM)
    await process.ended(10)
    assert said(process).count("startup") == said(process).count("shutdown Hello") == 1


def said(process: Process) -> list[str]:
    return process.text().splitlines()


async def test_the_stock_project_works_before(project: Project, pickling: ArqRedis) -> None:
    async def enqueue(function: str, *args: Any, **options: Any) -> Any:
        job = await pickling.enqueue_job(function, *args, **options)
        assert job is not None
        return job.result(timeout=SOON_S)

    await does_its_work(await project.start(STOCK, ready="startup"), enqueue)


@pytest.mark.parametrize("way", WAYS)
async def test_the_moved_project_does_the_same(
    project: Project, own_queue: Queue, own_server: Server, way: str
) -> None:
    process = await project.start(*WAYS[way])
    assert await (await own_queue.enqueue("flaky", 1)).result(SOON_S) == 1

    async def enqueue(function: str, *args: Any, **options: Any) -> Any:
        return (await own_queue.enqueue(function, *args, **options)).result(SOON_S)

    await does_its_work(process, enqueue)
    await shuts_down(process)  # stock arq may end in a traceback instead, where a job runs
    assert "chat" in process.text()  # promptmill's own jobs are there, too
    assert "20 jobs at once" in process.text() or way == "decorators"


async def test_side_by_side_each_worker_does_its_own_and_fails_none(
    project: Project, own_queue: Queue, pickling: ArqRedis, own_server: Server
) -> None:
    ours = await project.start(*WAYS["a class"])
    there = [await pickling.enqueue_job("greet", str(n)) for n in range(100)]
    await wait_until(lambda: "for a worker that can read them" in ours.text(), description="it is said")
    assert (await read_stats(own_queue)).unreadable >= 1
    here = [await own_queue.enqueue("greet", str(n)) for n in range(100)]
    assert [await job.result(SOON_S) for job in here] == [f"Hello {n}" for n in range(100)]
    stock = await project.start(STOCK, ready="startup")
    assert [await job.result(timeout=SOON_S) for job in there if job] == [f"Hello {n}" for n in range(100)]
    await (await own_queue.enqueue("chain", "Ada")).result(SOON_S)
    assert await own_queue.job("greet-Ada").result(SOON_S) == "Hello Ada"
    await wait_until(lambda: (said(ours) + said(stock)).count("tick Hello") >= 2, description="two ticks")
    assert await own_queue.dead.count() == 0
    assert ours.text().count("for a worker that can read them") == 1
    assert "deserializing" not in stock.text()
    with own_server.client() as client:
        assert client.zcount(KEYS.queue, "-inf", "(0") == 0


async def test_a_plain_pool_with_our_codec_is_a_producer(project: Project, own_server: Server) -> None:
    pool = await create_pool(redis_settings(own_server.url), job_serializer=encode, job_deserializer=decode)
    await project.start(*WAYS["decorators"])
    job = await pool.enqueue_job("greet", "Ada")
    assert job is not None
    assert await job.result(timeout=SOON_S) == "Hello Ada"
    await pool.aclose(close_connection_pool=True)


CLASS = "import worker\nclass WorkerSettings(worker.WorkerSettings):\n    "


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "redis_settings = object()",
            "WorkerSettings.redis_settings cannot be used: the worker has it from REDIS_URL",
        ),
        (
            "job_serializer = repr",
            "WorkerSettings.job_serializer cannot be used: promptmill reads and writes JSON",
        ),
        ("queue_read_limit = 9", "WorkerSettings.queue_read_limit cannot be used: a claim takes"),
        ("log_results = True", "WorkerSettings.log_results cannot be used: a result is its caller's"),
        ("max_jobs = 'many'", "WorkerSettings.max_jobs cannot be used: 'many' is no number."),
        ("functions = [max]", "WorkerSettings.functions: "),
        (
            "import worker\nclass Mine(worker.CpuWorkerSettings): ...\nWorkerSettings = Mine",
            "worker.CpuWorkerSettings is no base for a class of one's own",
        ),
    ],
)
async def test_what_cannot_be_honoured_is_refused_with_one_sentence(
    project: Project, line: str, sentence: str
) -> None:
    (project.directory / "refused.py").write_text(line if line.startswith("import") else CLASS + line)
    process = project.launch("refused.WorkerSettings")
    assert await process.ended(10) == 1
    (only,) = said(process)
    assert only.startswith(f"Error: {sentence}")
