"""docs/heroku.md: a web and a worker dyno, a Redis with a self-signed certificate, and a restart of all under load."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest
import trustme

from client import Completion, Queue
from tests.conftest import Server, wait_until
from tests.tls import tls_in_front
from tests.worker.processes import READY, Process, Processes, Provider

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "heroku.md").read_text()
QUESTIONS = 4_000
AT_ONCE = 40
KILL_AFTER_S = 30  # on Heroku
SOON_S = 30


class Dynos:
    """The page's lines of the Procfile, run by honcho, on one port."""

    def __init__(self, processes: Processes, env: dict[str, str]) -> None:
        self.latest: Process | None = None
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        lines = re.findall(r"`((?:worker|web): [^`]+)`", PAGE)
        assert [line.partition(":")[0] for line in lines] == ["worker", "web"]
        # web first: honcho counts the port up
        text = "\n".join(reversed(lines)).replace("my_service", "examples.fastapi_service")
        (processes.directory / "Procfile").write_text(f"{text}\n")
        self._processes = processes
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._env = {
            **env,
            "PORT": str(self.port),
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    async def start(self) -> Process:
        self.latest = honcho = self._processes.start([sys.executable, "-m", "honcho", "start"], self._env)
        await honcho.wrote(READY, timeout_s=SOON_S)
        await honcho.wrote("Application startup complete", timeout_s=SOON_S)
        return honcho

    def end(self) -> None:
        """A honcho that is killed leaves its processes behind."""
        if self.latest and self.latest.alive:
            self.latest.terminate()
            self.latest.popen.wait(KILL_AFTER_S)


async def ask_all(web: httpx.AsyncClient, prompts: Sequence[str], job_ids: dict[str, str]) -> None:
    """As a browser does: again, where there is no answer because the dyno restarts."""
    waiting = iter(prompts)

    async def ask(prompt: str) -> bool:
        try:
            reply = await web.post("/questions", json={"prompt": prompt})
        except httpx.TransportError:
            return False
        assert reply.status_code == 202, reply.text
        job_ids[prompt] = reply.json()["job_id"]
        return True

    async def one_after_the_other() -> None:
        for prompt in waiting:
            await wait_until(partial(ask, prompt), description="the web dyno is up again", timeout_s=60)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_the_other())


@pytest.mark.timeout(180)
async def test_every_question_is_answered_though_all_dynos_restart_under_load(
    own_server: Server, own_queue: Queue, processes: Processes, provider: Provider
) -> None:
    settings = dict(re.findall(r"(REDIS_SSL_CERT_REQS|DRAIN_S)=(\w+)", PAGE))
    assert settings["REDIS_SSL_CERT_REQS"] == "none"
    await provider.configure(latency_s=0.2)
    job_ids: dict[str, str] = {}
    prompts = [f"Question {n}" for n in range(QUESTIONS)]
    async with tls_in_front(own_server, trustme.CA()) as port, AsyncExitStack() as stack:
        url = f"rediss://localhost:{port}"
        dynos = Dynos(processes, {**provider.settings(), **settings, "REDIS_URL": url, "MAX_JOBS": "400"})
        stack.callback(dynos.end)
        first = await dynos.start()
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{dynos.port}", timeout=SOON_S, trust_env=False
        ) as web:
            asking = asyncio.create_task(ask_all(web, prompts, job_ids))
            await wait_until(
                lambda: asking.done() or len(job_ids) > QUESTIONS / 4, description="a quarter", timeout_s=60
            )
            assert not asking.done(), asking.exception()
            first.terminate()  # honcho passes TERM on to all
            await first.ended(KILL_AFTER_S)
            second = await dynos.start()
            await asking
            jobs = [own_queue.job(job_ids[prompt]) for prompt in prompts]
            answers = await asyncio.gather(*(job.result(60) for job in jobs))
            reply = (await web.get(f"/questions/{job_ids['Question 7']}")).json()
            second.terminate()
            await second.ended(KILL_AFTER_S)
    assert len(answers) == QUESTIONS
    assert all(isinstance(answer, Completion) and answer.text for answer in answers)
    assert (reply["status"], bool(reply["answer"])) == ("complete", True)
    assert await own_queue.dead.count() == 0
    assert "shutdown on SIGTERM" in first.text()
    assert "Traceback" not in first.text() + second.text()
