"""What callers get from `arq worker.WorkerSettings`: answers, and soon."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from arq import ArqRedis, create_pool

from client import Completion, Embeddings, JobStatus, Queue, decode, encode, redis_settings
from client.requests import chat_request
from client.wire.keys import KEYS
from tests.conftest import Server
from tests.worker.processes import Process, Provider

pytestmark = pytest.mark.usefixtures("worker")

SOON_S = 10
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


async def test_a_prompt_is_completed(queue: Queue, provider: Provider) -> None:
    await provider.configure(latency_s=0.2)
    before = datetime.now(UTC) - timedelta(seconds=1)
    job = await queue.chat("Why is the sky blue?", max_tokens=12, metadata={"row": 7})
    answer = await job.result(SOON_S)

    assert isinstance(answer, Completion)
    assert "Why is the sky blue?" in answer.text
    assert answer.job_id == job.id
    assert answer.finish_reason == "length"
    assert answer.model == "openai/gpt-4o-mini"
    assert answer.usage.input_tokens
    assert answer.usage.output_tokens == 12
    assert answer.cost_usd is None or 0 < answer.cost_usd < 0.001
    assert answer.metadata == {"row": 7}
    assert before < answer.timings.enqueued_at < datetime.now(UTC)
    assert 0 <= answer.timings.queued_s < SOON_S
    assert 0.2 <= answer.timings.running_s < SOON_S
    (attempt,) = answer.attempts
    assert (attempt.number, attempt.model, attempt.error) == (1, "openai/gpt-4o-mini", None)
    assert (await provider.stats())["answers_per_request_id"] == {f"{job.id}:1": 1}
    assert await job.status() == JobStatus.complete


@pytest.fixture
async def arq(server: Server) -> AsyncIterator[ArqRedis]:
    """A pool as any arq program makes one, with our codec."""
    pool = await create_pool(redis_settings(server.url), job_serializer=encode, job_deserializer=decode)
    yield pool
    await pool.aclose()


async def test_arqs_own_job_waits_for_its_answer(queue: Queue, arq: ArqRedis, provider: Provider) -> None:
    await provider.configure(latency_s=0.8)
    jobs = [await arq.enqueue_job("chat", HELLO) for _ in range(3)]
    answers = [await job.result(SOON_S, poll_delay=0.05) for job in jobs if job]
    assert ["Hello" in answer.text for answer in answers] == [True] * 3
    assert not await queue.session.redis.exists(KEYS.queue, KEYS.lanes)


async def test_arqs_own_job_is_aborted_in_the_lane_of_its_model(
    queue: Queue, arq: ArqRedis, provider: Provider
) -> None:
    await provider.configure(latency_s=0.8)
    job = await arq.enqueue_job("chat", HELLO)
    assert job
    await provider.counted("open", 1)
    assert await job.abort(timeout=SOON_S, poll_delay=0.05)
    await provider.counted("cancelled", 1)
    assert not await queue.session.redis.exists(KEYS.queue, KEYS.lanes)


async def test_what_a_known_model_cost_is_part_of_its_answer(queue: Queue) -> None:
    pytest.importorskip("genai_prices")
    answer = await (await queue.chat("Hi", model="openai/gpt-4o")).result(SOON_S)
    assert answer.cost_usd is not None
    assert 0 < answer.cost_usd < 0.01


async def test_a_system_prompt_is_sent_on(queue: Queue) -> None:
    plain, instructed = [
        await (await queue.chat("Hi", model=model, system=system)).result(SOON_S)
        for model, system in (("openai/gpt-4o", None), ("openai/gpt-4o", "Answer in Latin. " * 20))
    ]
    assert (instructed.usage.input_tokens or 0) > (plain.usage.input_tokens or 0) + 50


async def test_a_claude_model_is_asked_in_anthropics_way(queue: Queue) -> None:
    job = await queue.chat("Good day", model="anthropic/claude-sonnet-5", system="Be brief.")
    answer = await job.result(SOON_S)
    assert "Good day" in answer.text
    assert answer.model == "anthropic/claude-sonnet-5"
    assert answer.finish_reason == "stop"
    assert answer.usage.input_tokens


async def test_texts_become_vectors_in_their_order(queue: Queue) -> None:
    both = await (await queue.embed(["mill", "river"], metadata={"row": 8})).result(SOON_S)
    (river,) = (await (await queue.embed("river")).result(SOON_S)).vectors
    assert isinstance(both, Embeddings)
    assert both.vectors[1] == pytest.approx(river)
    assert both.vectors[0] != pytest.approx(river)
    assert both.metadata == {"row": 8}
    assert both.usage.input_tokens


async def test_an_answer_is_seen_as_soon_as_it_is_there(queue: Queue) -> None:
    requests = [chat_request(f"Prompt {n}") for n in range(20)]
    jobs = await queue.chat_many(requests)
    seen_late_s = []
    for job in jobs:
        answer = await job.result(SOON_S)
        ended_at = answer.attempts[0].started_at + timedelta(seconds=answer.timings.running_s)
        seen_late_s.append(time.time() - ended_at.timestamp())
    assert min(seen_late_s) < 0.25  # arq's own clients ask every 0.5 s
    assert max(seen_late_s) < 1.5  # the listener's safety net looks every 2 s


async def test_a_hundred_prompts_are_asked_at_once(queue: Queue, provider: Provider) -> None:
    await provider.configure(latency_s=0.3)
    jobs = await queue.chat_many([f"Prompt {n}" for n in range(100)])
    answers = [await job.result(SOON_S) for job in jobs]
    assert [f"Prompt {n}" in answer.text for n, answer in enumerate(answers)] == [True] * 100
    stats = await provider.stats()
    assert stats["requests"] == 100
    assert stats["peak_open"] > 50


async def test_a_job_asked_for_twice_under_one_id_is_paid_for_once(queue: Queue, provider: Provider) -> None:
    first = await queue.chat("Once", job_id="once")
    second = await queue.chat("Once", job_id="once")
    assert await first.result(SOON_S) == await second.result(SOON_S)
    assert await (await queue.chat("Once", job_id="once")).result(SOON_S) == await first.result(SOON_S)
    assert (await provider.stats())["requests"] == 1


async def test_the_log_holds_no_answer(queue: Queue, worker: Process) -> None:
    answer = await (await queue.chat("Say it in public")).result(SOON_S)
    await worker.wrote(f"← {answer.job_id}:chat")
    assert answer.text[-30:] not in worker.text()
