"""Embeddings of many texts, and what calls cost, from the queue to the provider and back."""

from __future__ import annotations

import asyncio

import pytest

from client import Cost, Queue
from client.wire.keys import KEYS
from tests.conftest import wait_until
from tests.worker.processes import Provider

pytestmark = pytest.mark.usefixtures("worker")

SOON_S = 20
MODEL = "openai/text-embedding-3-small"
PART = 128  # texts a call of the simulator, which is no host known to take more
TEXTS = [f"text {number}" for number in range(5_000)]
PARTS = 40
ONE_FAILS = {"seed": 8, "fault_500": 0.03}  # the 17th call, and none of the next 25


async def counted(queue: Queue, model: str, calls: int, *, unknown: int = 0, errors: int = 0) -> Cost:
    """The total of a model and a tenant, once that many calls and errors are in it."""
    found: list[Cost] = []

    async def written() -> bool:
        found[:] = [cost for cost in await queue.costs(by=("model", "tenant")) if cost.model == model]
        begun = sum(cost.calls for cost in found)  # a call counts as unknown until what it came to is written
        ended = sum(cost.unknown_calls for cost in found) == unknown
        return begun == calls and ended and sum(cost.errors for cost in found) >= errors

    await wait_until(written, description=f"{calls} calls of {model} in the totals", timeout_s=2)
    (cost,) = found
    return cost


async def test_of_five_thousand_texts_only_the_part_that_failed_is_asked_for_again(
    queue: Queue, provider: Provider
) -> None:
    await provider.configure(**ONE_FAILS, latency_s=0.02)
    job = await queue.embed(TEXTS, dimensions=8, timeout_s=10)
    answer = await job.result(SOON_S)
    again = await queue.embed([TEXTS[0], TEXTS[-1]], dimensions=8, timeout_s=10)
    ends = await again.result(SOON_S)

    stats = await provider.stats()
    assert len(answer.vectors) == len(TEXTS)
    assert [answer.vectors[0], answer.vectors[-1]] == ends.vectors
    assert [attempt.error for attempt in answer.attempts].count("ServerError") == 1
    assert [attempt.number for attempt in answer.attempts] == list(range(1, PARTS + 2))
    assert stats["requests"] == PARTS + 2
    assert 1 < stats["peak_open"] <= 8
    assert not await queue.session.redis.exists(KEYS.parts(job.id))
    total = await counted(queue, MODEL, PARTS + 2)
    assert total.errors == 1
    assert total.input_tokens == sum(one.usage.input_tokens or 0 for one in (answer, ends))
    assert total.unknown_calls == 0


async def test_a_limit_of_one_is_kept_and_the_job_ends(queue: Queue, provider: Provider) -> None:
    await queue.limits.set(MODEL, concurrency=1)
    await provider.configure(latency_s=0.02)
    jobs = [await queue.embed(TEXTS[: 4 * PART], dimensions=8, timeout_s=10) for _ in range(2)]
    for job in jobs:
        assert len((await job.result(SOON_S)).vectors) == 4 * PART
    assert (await provider.stats())["peak_open"] == 1
    assert not await queue.session.redis.exists(KEYS.slots(MODEL))
    await queue.limits.remove(MODEL)


async def test_aborting_an_embedding_ends_all_of_its_calls(queue: Queue, provider: Provider) -> None:
    await provider.configure(latency_s=30)
    job = await queue.embed(TEXTS, dimensions=8, timeout_s=30)
    await provider.counted("open", 8)
    async with asyncio.timeout(2):
        assert await job.abort()
    await provider.counted("cancelled", 8)
    assert (await provider.stats())["requests"] == 8


async def test_a_cancelled_call_is_in_the_totals_of_its_tenant(queue: Queue, provider: Provider) -> None:
    await provider.configure(latency_s=30)
    job = await queue.chat("Never mind", model="openai/gpt-4o", tenant="acme", timeout_s=30)
    await provider.counted("open", 1)
    await job.abort()

    total = await counted(queue, "openai/gpt-4o", 1, unknown=1, errors=1)
    assert (total.tenant, total.errors, total.usd, total.unknown_calls) == ("acme", 1, None, 1)
