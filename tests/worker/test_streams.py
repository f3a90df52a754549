"""Streamed answers from a real worker and a real provider, with what can happen to both."""

from __future__ import annotations

import asyncio
import time

import pytest

from client import Queue, StreamEvent, errors
from tests.conftest import Server, wait_until
from tests.worker.processes import Processes, Provider

ABORT_LIMIT_S = 0.2
SOON_S = 20

MODELS = ["openai/gpt-4o", "anthropic/claude-sonnet-5"]


class Following:
    """Somebody who follows a job from its beginning."""

    def __init__(self, queue: Queue, job_id: str) -> None:
        self.events: list[StreamEvent] = []
        self.task = asyncio.create_task(self._read(queue, job_id))

    async def _read(self, queue: Queue, job_id: str) -> None:
        async for event in queue.job(job_id).stream():
            self.events.append(event)

    @property
    def kinds(self) -> str:
        """Each kind once, however often it followed itself."""
        kinds = [event.kind for event in self.events]
        return " ".join(kind for at, kind in enumerate(kinds) if kinds[at - 1 : at] != [kind])

    @property
    def text(self) -> str:
        """What a reader that heeds resets has in the end."""
        resets = [at for at, event in enumerate(self.events) if event.kind == "reset"]
        return "".join(event.text for event in self.events[resets[-1] if resets else 0 :])

    async def began(self) -> None:
        await wait_until(lambda: bool(self.text), description="the first words")

    async def ended(self) -> None:
        async with asyncio.timeout(SOON_S):
            await self.task


@pytest.mark.usefixtures("worker")
async def test_an_answer_comes_in_parts_and_is_the_same_in_the_end(queue: Queue, provider: Provider) -> None:
    await provider.configure(latency_s=0.3)
    prompt = "Why is the sky blue?"
    jobs = [await queue.chat(prompt, model=model, stream=True) for model in MODELS]
    plain = [await queue.chat(prompt, model=model) for model in MODELS]
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    calling = await queue.chat(prompt, tools=[tool], tool_choice="required", stream=True)
    followings = [Following(queue, job.id) for job in (*jobs, calling)]
    for following in followings:
        await following.ended()
        assert following.kinds == "delta done"
    for job, following, other in zip(jobs, followings, plain, strict=False):
        answer, same = await job.result(SOON_S), await other.result(SOON_S)
        assert len(following.events) > 2
        assert following.text == answer.text == same.text
        assert answer.usage.output_tokens == same.usage.output_tokens
        assert answer.finish_reason == same.finish_reason
    pieces = [piece for event in followings[-1].events for piece in event.tool_calls]
    (call,) = (await calling.result(SOON_S)).tool_calls
    assert pieces[0]["function"]["name"] == "look_up"
    assert "".join(piece["function"]["arguments"] for piece in pieces) == call["function"]["arguments"]


@pytest.mark.usefixtures("worker")
async def test_a_stream_that_is_cut_is_reset_and_told_again(queue: Queue, provider: Provider) -> None:
    await provider.configure(latency_s=0.2, fault_cut_stream=1)
    job = await queue.chat("Again", model="openai/gpt-4o", stream=True)
    following = Following(queue, job.id)
    await provider.counted("faults.cut_stream", 1)
    await provider.configure(fault_cut_stream=0)
    await following.ended()
    answer = await job.result(SOON_S)
    assert following.kinds == "delta reset delta done"
    assert following.text == answer.text
    assert [attempt.error for attempt in answer.attempts][1:] == [None]


@pytest.mark.usefixtures("worker")
async def test_an_abort_hangs_up_on_the_provider_at_once(queue: Queue, provider: Provider) -> None:
    await provider.configure(latency_s=30, first_token_s=0.05)
    job = await queue.chat("Stop", model="openai/gpt-4o", stream=True)
    following = Following(queue, job.id)
    await following.began()
    began_s = time.monotonic()
    assert await job.abort()
    await provider.counted("cancelled", 1)
    assert time.monotonic() - began_s < ABORT_LIMIT_S
    await following.ended()
    assert following.kinds == "delta error"
    assert isinstance(following.events[-1].error, errors.JobAborted)


async def test_another_run_resets_when_a_worker_was_killed_in_the_middle(
    own_server: Server, own_queue: Queue, processes: Processes, provider: Provider
) -> None:
    settings = {**provider.settings(), "REDIS_URL": own_server.url, "LEASE_S": "1"}
    await provider.configure(latency_s=30, first_token_s=0.05)
    first = await processes.worker(**settings)
    job = await own_queue.chat("On and on", model="openai/gpt-4o", stream=True)
    following = Following(own_queue, job.id)
    await following.began()
    first.kill()
    await provider.configure(latency_s=0.1, first_token_s=None)
    await processes.worker(**settings)
    await following.ended()
    assert following.kinds == "delta reset delta done"
    assert following.text == (await job.result(SOON_S)).text
