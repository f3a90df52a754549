"""Workers, commands and arq's own CLI whose REDIS_URL names a namespace."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client import SyncJob, SyncQueue
from promptmill.cli.main import promptmill
from tests.conftest import Server
from tests.worker.processes import READY, Processes, Provider

SOON_S = 15
CPU_JOBS = Path(__file__).parents[1] / "cpu" / "given_cpu_jobs.py"


async def test_all_that_has_the_url_is_in_its_namespace_and_nothing_else(
    own_server: Server, processes: Processes, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{own_server.url}?namespace=llm"
    shutil.copy(CPU_JOBS, processes.directory)
    settings = {
        **provider.settings(),
        "REDIS_URL": url,
        "JOB_MODULES": CPU_JOBS.stem,
        "LIMITS": "tenant:* rpm=600",
    }
    workers = [
        processes.arq(named=f"worker.{kind}", **settings) for kind in ("WorkerSettings", "CpuWorkerSettings")
    ]
    for each, ready in zip(workers, (READY, " processes for CPU jobs: "), strict=True):
        await each.wrote(ready)
    checks = [processes.arq("--check", **settings | {"REDIS_URL": at}) for at in (url, own_server.url)]
    with SyncQueue.from_url(url) as queue:
        chat = queue.chat("hi", model="openai/m", tenant="acme", stream=True)
        asked: list[SyncJob[Any]] = [chat, queue.embed(["a"]), queue.enqueue("crunch", 3)]

        def all_end() -> tuple[str, list[Any]]:
            return "".join(event.text or "" for event in chat.stream()), [job.result(SOON_S) for job in asked]

        text, (answer, _, computed) = await asyncio.to_thread(all_end)
        assert answer.text == text != ""
        assert computed == 9
    stats = [await command(monkeypatch, at, "stats", "--json") for at in (url, own_server.url)]
    here, plain = map(json.loads, stats)
    assert here["workers"]
    assert here["cpu_workers"]
    assert not plain["workers"] + plain["cpu_workers"]
    assert "tenant:*" in await command(monkeypatch, url, "limits", "list")
    assert "tenant" not in await command(monkeypatch, own_server.url, "limits", "list")
    assert "worker" in await command(monkeypatch, url, "doctor", exits=None)
    assert [await check.ended(SOON_S) for check in checks] == [0, 1]
    with own_server.client() as client:
        assert [key for key in client.scan_iter() if not key.startswith(b"{llm}:")] == []
    for each in workers:
        each.terminate()
        assert await each.ended(SOON_S) == 0, each.text()
    with SyncQueue.from_url(url) as queue:
        totals = await asyncio.to_thread(queue.costs, by=["tenant"])
    assert [(total.tenant, total.calls) for total in totals] == [("-", 1), ("acme", 1)]


async def command(monkeypatch: pytest.MonkeyPatch, url: str, *words: str, exits: int | None = 0) -> str:
    monkeypatch.setenv("REDIS_URL", url)
    done = await asyncio.to_thread(CliRunner().invoke, promptmill, words)
    assert exits is None or done.exit_code == exits, done.output
    return str(done.stdout)
