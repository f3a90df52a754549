"""What the provider's failures lead to, from the simulator's faults to the caller's exception."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

import httpx
import pytest

from client import Queue, errors
from client.wire.keys import KEYS
from promptmill.simulator import SimulatorConfig, serve
from tests.conftest import AnyRedis, Server, wait_until
from tests.worker.processes import OPENAI_KEY, SECRETS, Process, Processes, Provider

SOON_S = 20
TRIES = 2

# a fault of the simulator → what its caller gets once all tries are used
ENDINGS = {
    "500": (errors.ServerError, 500),
    "reset": (errors.ProviderUnreachable, None),
    "cut_stream": (errors.ProviderUnreachable, None),
    "malformed": (errors.MalformedResponse, None),
    "hang": (errors.ProviderTimeout, None),
}


@asynccontextmanager
async def the_only_place_taken(provider: Provider) -> AsyncIterator[None]:
    """The provider serves one call at a time, and this one lasts until the block ends."""
    await provider.configure(max_concurrency=1, latency_s=60)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hold the line"}]}
    headers = {"authorization": f"Bearer {OPENAI_KEY}"}
    async with httpx.AsyncClient(timeout=None, verify=False, trust_env=False, headers=headers) as client:
        url = f"{provider.url}/v1/chat/completions"
        call = asyncio.create_task(client.post(url, json=body))
        await provider.counted("open", 1)
        yield
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    await provider.configure(max_concurrency=None, latency_s=0)


@pytest.mark.usefixtures("worker")
async def test_a_refusal_for_want_of_room_uses_no_try_and_a_server_error_uses_one(
    queue: Queue, provider: Provider
) -> None:
    async with the_only_place_taken(provider):
        job = await queue.chat("Patience")
        await provider.counted("refused_429", 1)
        await provider.configure(fault_500=1)
    await provider.counted("faults.500", 1)
    await provider.configure(fault_500=0)

    answer = await job.result(SOON_S)
    refused, failed, answered = answer.attempts
    assert [refused.error, failed.error, answered.error] == ["RateLimited", "ServerError", None]
    assert [refused.status, failed.status] == [429, 500]
    assert failed.started_at - refused.started_at >= timedelta(seconds=1)  # the provider's Retry-After
    stats = await provider.stats()
    assert stats["calls_per_request_id"] == {f"{job.id}:{number}": 1 for number in (1, 2, 3)}
    assert await queue.session.redis.exists(KEYS.attempts(job.id), KEYS.retry(job.id)) == 0


@pytest.mark.usefixtures("worker")
async def test_what_no_other_try_can_help_fails_at_once(queue: Queue, provider: Provider) -> None:
    models = ["refused/gpt-4o", "openai/unknown-1", "anthropic/unknown-1", "keyless/gpt-4o", "nowhere/gpt-4o"]
    jobs = [await queue.chat("Hi", model=model) for model in models]
    key, model, claude, keyless, nowhere = await asyncio.gather(
        *(job.result(SOON_S) for job in jobs), return_exceptions=True
    )
    assert isinstance(key, errors.AuthenticationFailed)
    assert (key.status, key.provider, key.details["attempts"]) == (401, "refused", 1)
    assert isinstance(model, errors.ModelNotFound)
    assert isinstance(claude, errors.ModelNotFound)
    assert isinstance(keyless, errors.ProviderNotConfigured)
    assert "PROVIDERS__KEYLESS__API_KEY" in str(keyless)
    assert isinstance(nowhere, errors.ProviderNotConfigured)
    assert "nowhere" in str(nowhere)
    assert (await provider.stats())["requests"] == 3


@pytest.mark.usefixtures("worker")
async def test_where_a_model_cannot_answer_the_next_one_is_asked(queue: Queue, provider: Provider) -> None:
    fallbacks = ["refused/gpt-4o", "openai/unknown-1", "openai/gpt-4o"]
    job = await queue.chat("Hi", model="nowhere/gpt-4o", fallbacks=fallbacks)
    answer = await job.result(SOON_S)
    assert [(attempt.model, attempt.error) for attempt in answer.attempts] == [
        ("nowhere/gpt-4o", "ProviderNotConfigured"),  # an attempt that was never sent is told, too
        ("refused/gpt-4o", "AuthenticationFailed"),
        ("openai/unknown-1", "ModelNotFound"),
        ("openai/gpt-4o", None),
    ]
    assert await queue.session.redis.exists(KEYS.attempts(job.id), KEYS.retry(job.id)) == 0


@pytest.mark.usefixtures("worker")
async def test_a_prompt_that_is_too_long_is_refused_at_once(queue: Queue, provider: Provider) -> None:
    await provider.configure(context_tokens=10)
    with pytest.raises(errors.ContextTooLong):
        await (await queue.chat("word " * 50)).result(SOON_S)
    assert (await provider.stats())["requests"] == 1


@asynccontextmanager
async def faulty_providers() -> AsyncIterator[dict[str, str]]:
    """A provider for each fault: the environment of a worker that knows them all."""
    environment = {"OPENAI_API_KEY": OPENAI_KEY}
    async with AsyncExitStack() as stack:
        for fault in ENDINGS:
            config = SimulatorConfig.of({"latency_s": 0, f"fault_{fault}": 1})
            url = await stack.enter_async_context(serve(config))
            environment[f"PROVIDERS__F{fault}__BASE_URL"] = f"{url}/v1"
            environment[f"PROVIDERS__F{fault}__API_KEY"] = SECRETS[0]
        yield environment


async def test_a_call_that_fails_on_every_try_is_its_last_attempts_error_and_no_key_is_shown(
    own_server: Server, own_queue: Queue, processes: Processes
) -> None:
    async with faulty_providers() as environment:
        worker = await processes.worker(
            **environment, REDIS_URL=own_server.url, MAX_TRIES=str(TRIES), REQUEST_TIMEOUT_S="0.5"
        )
        jobs = {fault: await own_queue.chat("Hi", model=f"f{fault}/gpt-4o") for fault in ENDINGS}
        outcomes = await asyncio.gather(
            *(job.result(SOON_S) for job in jobs.values()), return_exceptions=True
        )

    for fault, error in zip(jobs, outcomes, strict=True):
        kind, status = ENDINGS[fault]
        assert type(error) is kind, fault
        assert error.details["attempts"] == TRIES
        assert error.provider == f"f{fault}"
        assert error.status in (status, 200)
        await wait_until(
            partial(_only_result, own_queue, jobs[fault].id), description="nothing but the result"
        )
    seen = [worker.text(), *map(repr, outcomes), *map(str, outcomes), await _everything_in(own_queue)]
    assert not [secret for secret in SECRETS for text in seen if secret in text]


@pytest.mark.usefixtures("worker")
async def test_a_key_is_shown_to_nobody_but_its_provider(
    queue: Queue, worker: Process, provider: Provider
) -> None:
    models = ["openai/gpt-4o", "anthropic/claude-sonnet-5", "refused/gpt-4o", "openai/unknown-1"]
    jobs = [await queue.chat("Hi", model=model) for model in models]
    outcomes = await asyncio.gather(*(job.result(SOON_S) for job in jobs), return_exceptions=True)
    await provider.configure(fault_500=1)
    waiting = await queue.chat("Hi")  # so that a ledger is there to be looked into
    await provider.counted("faults.500", 1)
    await wait_until(lambda: _has_ledger(queue, waiting.id), description="the attempt is written down")
    seen = [worker.text(), *map(str, outcomes), await _everything_in(queue)]
    assert "ServerError" in seen[-1]
    await provider.configure(fault_500=0)
    await waiting.result(SOON_S)
    assert not [secret for secret in SECRETS for text in seen if secret in text]


async def _has_ledger(queue: Queue, job_id: str) -> bool:
    return bool(await queue.session.redis.exists(KEYS.attempts(job_id)))


async def _only_result(queue: Queue, job_id: str) -> bool:
    """All of it expires: the result, and where no try helped, the dead letter."""
    left = [key async for key in queue.session.redis.scan_iter(match=f"*{job_id}*")]
    expected = {KEYS.result(job_id).encode(), KEYS.dead(job_id).encode()}
    return set(left) <= expected and all([await queue.session.redis.ttl(key) > 0 for key in left])


async def _everything_in(queue: Queue) -> str:
    """All keys of the server and what they hold."""
    redis: AnyRedis = queue.session.redis
    kept = [key async for key in redis.scan_iter()]
    values = []
    for key in kept:
        kind = (await redis.type(key)).decode()
        if kind == "list":
            values += await redis.lrange(key, 0, -1)
        elif kind == "hash":
            values += await redis.hvals(key)
        elif kind == "string":
            values.append(await redis.get(key))
        else:
            values += await redis.zrange(key, 0, -1)
    return b"\n".join(kept + values).decode(errors="replace")
