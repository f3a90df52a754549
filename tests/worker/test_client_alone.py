"""promptmill-client in a service of its own: redis-py 8, the newest Celery, and a worker installed elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.worker.processes import READY, ROOT, Processes, Provider

SERVICE = """
import asyncio, sys
import celery, kombu.transport.redis, redis
from promptmill_client import Completion, JobStatus, Queue, SyncQueue

async def main(url):
    async with Queue.from_url(url) as queue:
        job = await queue.chat("Why is the sky blue?", model="openai/gpt-4o-mini", stream=True)
        kinds = {event.kind async for event in job.stream()}
        answer = await job.result(30)
        assert isinstance(answer, Completion) and answer.text, answer
        assert kinds == {"delta", "done"}, kinds
        assert await job.status() == JobStatus.complete
        with redis.Redis.from_url(url) as other:  # every connection breaks, the worker's, too
            for kind in ("normal", "pubsub"):
                other.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        assert (await (await queue.chat("Still?", model="openai/gpt-4o-mini")).result(30)).text
        async with queue.limits.slot("openai/gpt-4o-mini", wait_s=5):
            pass

asyncio.run(main(sys.argv[1]))
with SyncQueue(sys.argv[1]) as mill:
    assert len(mill.embed(["a", "b"], model="openai/text-embedding-3-small").result(30).vectors) == 2
foreign = {"arq", "httpx", "aiohttp", "client", "worker", "promptmill"} & set(sys.modules)
print(redis.__version__.partition(".")[0], sorted(foreign))
"""


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    if done.returncode and re.search("No matching distribution|connection|resol", done.stderr):
        if os.environ.get("CI"):
            pytest.fail(done.stderr)
        pytest.skip("there is no package index")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Both wheels: `worker` holds promptmill's, and `service` is an environment with the client's."""
    pytest.importorskip("hatchling")
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT, ROOT / "client")
    (worker_wheel,), (client_wheel,) = tmp_path.glob("promptmill-*.whl"), tmp_path.glob("promptmill_c*.whl")
    pip("install", "--no-compile", "--no-deps", "--target", tmp_path / "worker", worker_wheel)
    venv.create(tmp_path / "service")  # a pip of its own would take as long as all the rest
    service = ("--python", tmp_path / "service/bin/python")
    pip(*service, "install", "--no-compile", client_wheel, "redis>=8,<9", "celery[redis]")
    pip(*service, "check")
    return tmp_path


@pytest.mark.timeout(180)  # most of it is pip's
async def test_a_service_with_redis_8_and_celery_enqueues_to_a_worker_installed_elsewhere(
    installed: Path, own_server: Server, processes: Processes, provider: Provider
) -> None:
    elsewhere = {"PYTHONPATH": str(installed / "worker"), "REDIS_URL": own_server.url}
    worker = processes.arq(**elsewhere, **provider.settings())
    await worker.wrote(READY)
    command: list[str | Path] = [installed / "service/bin/python", "-c", SERVICE, own_server.url]
    service = processes.start(command, {"PYTHONPATH": ""})
    assert await service.ended(60) == 0, service.text() + worker.text()
    assert service.text().splitlines()[-1] == "8 []"
