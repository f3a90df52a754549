"""The examples, run as a reader would run them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from client import Job, JobStatus
from tests.conftest import wait_blocking, wait_until
from tests.fundamentals.conftest import ROOT, LiveStack

FILES = sorted((ROOT / "examples").glob("*.py"))
MOST_LINES = 40


def load(name: str, stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("REDIS_URL", stack.url)
    return importlib.import_module(f"examples.{name}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < MOST_LINES


async def test_a_fastapi_endpoint_returns_at_once_and_another_gives_the_answer(
    stack: LiveStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = load("fastapi_service", stack, monkeypatch).app
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as http,
    ):
        accepted = await http.post("/questions", json={"prompt": "Why is the sky blue?"})
        address = f"/questions/{accepted.json()['job_id']}"
        at_once = (await http.get(address)).json()

        async def is_answered() -> bool:
            return bool((await http.get(address)).json()["status"] == "complete")

        await wait_until(is_answered, description="the question is answered")
        answered = (await http.get(address)).json()
        unknown = await http.get("/questions/nonsense")

    assert accepted.status_code == 202
    assert at_once["status"] in ("queued", "in_progress")
    assert "Why is the sky blue?" in answered["answer"]
    assert unknown.status_code == 404


async def test_a_failed_question_is_told_apart(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    app = load("fastapi_service", stack, monkeypatch).app
    async with app.router.lifespan_context(app):
        job = await app.state.queue.chat("Hello", model="nobody/nothing")
        await wait_until(lambda: _is_complete(job), description="the job has failed")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            failed = (await http.get(f"/questions/{job.id}")).json()

    assert failed["status"] == "failed"
    assert "PROVIDERS__NOBODY__BASE_URL" in failed["error"]


def test_a_flask_endpoint_returns_at_once_and_another_gives_the_answer(
    stack: LiveStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = load("flask_service", stack, monkeypatch)
    http = service.app.test_client()
    try:
        accepted = http.post("/questions", json={"prompt": "Why is the sea salty?"})
        address = f"/questions/{accepted.json['job_id']}"
        wait_blocking(
            lambda: bool(http.get(address).json["status"] == "complete"), description="the job is complete"
        )
        answered = http.get(address).json
        unknown = http.get("/questions/nonsense")
    finally:
        service.queue.close()

    assert accepted.status_code == 202
    assert "Why is the sea salty?" in answered["answer"]
    assert unknown.status_code == 404


def test_a_producer_awaits_a_hundred_answers_side_by_side(stack: LiveStack) -> None:
    lines = stack.run_python("-m", "examples.asyncio_producer").splitlines()

    assert len(lines) == 100
    assert all("Simulated answer to: Describe city number" in line for line in lines)


def test_jobs_of_ones_own_are_enqueued_and_run(stack: LiveStack) -> None:
    printed = stack.run_python("-m", "examples.enqueue_my_jobs")

    assert printed.startswith("16 {'summary': 'Simulated answer to: Summarise in 5 words")
    assert printed.strip().endswith("'words_before': 16}")


def test_one_job_asks_side_by_side_and_returns_one_typed_result(stack: LiveStack) -> None:
    found = json.loads(stack.run_python("-m", "examples.analyse"))

    assert list(found) == ["tone", "topics", "claims", "gaps", "summary"]
    assert all(f"Simulated answer to: Describe the {aspect} of" in found[aspect] for aspect in found)


async def test_a_job_can_still_be_called() -> None:
    my_jobs = importlib.import_module("examples.my_jobs")

    assert await my_jobs.count_words("one two three") == 3


async def _is_complete(job: Job[Any]) -> bool:
    return await job.status() == JobStatus.complete
