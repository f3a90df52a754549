"""Jobs that call SDKs, run by a worker as a user's would be: over its connections, under its limits."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from client import Queue
from tests.conftest import wait_until
from tests.fundamentals.conftest import LiveStack, sdk_examples

TEXT = "Redis is a store."
SOON_S = 15


@pytest.mark.parametrize(
    ("example", "function", "arguments", "prompt", "model"),
    [
        ("openai_sdk", "headline", (TEXT,), f"A headline for: {TEXT}", "openai/gpt-4o"),
        ("anthropic_sdk", "verdict", (TEXT,), f"Is this true? {TEXT}", "anthropic/claude-sonnet-5"),
        (
            "langchain_chain",
            "translated",
            (TEXT, "French"),
            f"Translate into French: {TEXT}",
            "openai/gpt-4o",
        ),
    ],
)
async def test_an_sdk_is_called_under_the_limit_of_its_model(
    stack: LiveStack, example: str, function: str, arguments: tuple[str, ...], prompt: str, model: str
) -> None:
    _needs(example)
    async with Queue.from_url(stack.url) as queue:
        await queue.limits.set(model, concurrency=1, tpm=1_000_000)
        answer = await (await queue.enqueue(function, *arguments)).result(SOON_S)
        (used,) = [each for each in await queue.limits.list() if each.key == model]
        await queue.limits.remove(model)

    assert answer.startswith(f"Simulated answer to: {prompt}")
    assert used.in_use == 0


async def test_a_refused_sdk_call_cools_its_model_down_and_its_job_runs_again(stack: LiveStack) -> None:
    _needs("openai_sdk")
    async with _simulator(stack) as simulator, Queue.from_url(stack.url) as queue:
        await simulator.patch("/config", json={"down": True})
        try:
            job = await queue.enqueue("headline", TEXT)

            async def was_refused() -> bool:
                return any(each.key == "openai/gpt-4o" and _cools(each) for each in await queue.limits.list())

            await wait_until(was_refused, description="the model cools down", timeout_s=SOON_S)
        finally:
            await simulator.patch("/config", json={"down": False})

        assert (await job.result(SOON_S)).startswith("Simulated answer to: A headline for")
        assert ((await job.info()).tries or 0) > 1


def _cools(state: Any) -> bool:
    return bool(state.cooldown_s)


def _simulator(stack: LiveStack) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=stack.environment["OPENAI_BASE_URL"].removesuffix("/v1"))


def _needs(example: str) -> None:
    if f"examples.{example}" not in sdk_examples():
        pytest.skip("the extra `sdks` is not installed")
