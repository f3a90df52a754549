"""The jobs: a ledger of attempts, retries, and results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import fakeredis
import pytest
from arq import Retry
from pydantic_core import from_json
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisDown

from client import errors
from client.wire.codec import decode, encode
from client.wire.keys import KEYS
from client.wire.schemas import Completion, Embeddings, Usage
from promptmill.dialects import EmbedAnswer
from tests.conftest import AnyRedis
from tests.unit.given_llm import ANSWER, HI, Runs, ScriptedLLM, redis, run
from worker.jobs import chat, embed
from worker.signals import Throttled

__all__ = ["redis", "run"]


async def nothing() -> None:
    pass


async def ledger(redis: AnyRedis) -> list[Any]:
    return [from_json(row) for row in await redis.lrange(KEYS.attempts("j1"), 0, -1)]


def errors_of(result: Completion | Embeddings) -> list[tuple[int, str | None]]:
    return [(attempt.number, attempt.error) for attempt in result.attempts]


async def test_a_prompt_is_completed(run: Runs, redis: AnyRedis) -> None:
    result = await run(ScriptedLLM(ANSWER))
    assert isinstance(result, Completion)
    assert (result.job_id, result.text, result.finish_reason) == ("j1", "Hello", "stop")
    assert result.model == "openai/gpt-4o-mini-2024-07-18"
    assert result.metadata == {"mine": 1}
    assert result.response_id == "r1"
    assert errors_of(result) == [(1, None)]
    assert result.attempts[0].model == "openai/gpt-4o-mini"
    assert (
        result.timings.enqueued_at + timedelta(seconds=result.timings.queued_s)
        == result.attempts[0].started_at
    )
    assert decode(encode({"r": result}))["r"] == result
    assert not await redis.exists(KEYS.attempts("j1"))


async def test_texts_become_vectors(run: Runs) -> None:
    answer = EmbedAnswer([[1.0, 2.0]], "text-embedding-3-small", Usage(input_tokens=1, output_tokens=0))
    result = await run(ScriptedLLM(answer), embed, {"texts": ["a"]})
    assert isinstance(result, Embeddings)
    assert result.vectors == [[1.0, 2.0]]
    assert result.model == "openai/text-embedding-3-small"


@pytest.mark.parametrize(
    ("job", "request_"), [(chat, {"messages": []}), (chat, "secret"), (embed, {"textz": "secret"})]
)
async def test_a_request_that_cannot_be_used_is_refused_without_quoting_it(
    run: Runs, job: Callable[..., Awaitable[Any]], request_: object
) -> None:
    with pytest.raises(errors.BadRequest, match=r"^The (Chat|Embed)Request cannot be used: .*\.$") as raised:
        await run(ScriptedLLM(), job, request_)
    assert "secret" not in str(raised.value)


async def test_a_provider_that_is_not_configured_fails_before_any_call(run: Runs) -> None:
    llm = ScriptedLLM()
    with pytest.raises(errors.ProviderNotConfigured):
        await run(llm, request={**HI, "model": "nowhere/x"})
    assert llm.call_ids == []


async def test_a_transient_failure_is_written_down_and_tried_again(run: Runs, redis: AnyRedis) -> None:
    llm = ScriptedLLM(errors.ServerError("boom", status=500), ANSWER)
    with pytest.raises(Retry) as raised:
        await run(llm)
    assert 0 <= (raised.value.defer_score or 0) <= 1000
    (attempt,) = await ledger(redis)
    assert (attempt["number"], attempt["error"], attempt["status"]) == (1, "ServerError", 500)
    assert not isinstance(raised.value, Throttled)

    result = await run(llm)
    assert errors_of(result) == [(1, "ServerError"), (2, None)]
    assert llm.call_ids == ["j1:1", "j1:2"]


async def test_when_no_try_is_left_the_last_error_is_raised_with_the_number_of_attempts(
    run: Runs, redis: AnyRedis
) -> None:
    llm = ScriptedLLM(errors.ServerError("1"), errors.ProviderTimeout("2"), errors.ServerError("3"))
    for _ in range(2):
        with pytest.raises(Retry):
            await run(llm)
    with pytest.raises(errors.ServerError, match="3") as raised:
        await run(llm)
    assert raised.value.details["attempts"] == 3
    assert raised.value.__cause__ is None


async def test_being_rate_limited_uses_no_try_and_keeps_its_place_in_the_ledger(
    run: Runs, redis: AnyRedis
) -> None:
    limited = [errors.RateLimited("slow", retry_after_s=2, status=429) for _ in range(9)]
    llm = ScriptedLLM(*limited, ANSWER)
    for _ in limited:
        with pytest.raises(Throttled) as raised:
            await run(llm)
        assert raised.value.defer_score is None  # the cooldown of its model's limit does the waiting
    result = await run(llm)
    assert errors_of(result) == [*((n, "RateLimited") for n in range(1, 10)), (10, None)]
    assert llm.call_ids[-1] == "j1:10"


async def test_a_permanent_failure_is_raised_at_once(run: Runs, redis: AnyRedis) -> None:
    with pytest.raises(errors.ContextTooLong) as raised:
        await run(ScriptedLLM(errors.ContextTooLong("too long")))
    assert raised.value.details["attempts"] == 1
    assert not await redis.exists(KEYS.attempts("j1"))


@pytest.mark.parametrize(
    "outcome", [ANSWER, errors.ServerError("x"), errors.BadRequest("x", status=400), asyncio.CancelledError()]
)
async def test_a_first_run_sends_no_command_of_its_own_however_it_ends(
    run: Runs, monkeypatch: pytest.MonkeyPatch, outcome: Any
) -> None:
    sent = []

    async def counted(self: object, *args: object, **options: object) -> None:
        sent.append(args)

    with monkeypatch.context() as patched:
        for client in (fakeredis.FakeAsyncRedis, Pipeline):
            patched.setattr(client, "execute_command", counted)
        patched.setattr(run, "remember", nothing)  # the script that takes the outcome does
        with suppress(Retry, errors.BadRequest, asyncio.CancelledError):
            await run(ScriptedLLM(outcome))
    assert sent == []


async def test_a_call_that_was_cut_off_is_told_of_and_uses_no_try(run: Runs) -> None:
    llm = ScriptedLLM(asyncio.CancelledError(), errors.ServerError("x"), ANSWER, max_tries=2)
    with pytest.raises(asyncio.CancelledError):
        await run(llm)
    await run.hand_back()
    with pytest.raises(Retry):
        await run(llm)
    result = await run(llm)
    assert errors_of(result) == [(1, "CancelledError"), (2, "ServerError"), (3, None)]


async def test_attempts_are_waited_for_while_redis_is_away(
    run: Runs, redis: AnyRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = ScriptedLLM(errors.ServerError("x"), ANSWER)
    with pytest.raises(Retry):
        await run(llm)
    asked, pipeline = [], redis.pipeline

    def away_at_first(**options: Any) -> Any:
        asked.append(options)
        if len(asked) < 3:
            raise RedisDown("away")
        return pipeline(**options)

    monkeypatch.setattr(redis, "pipeline", away_at_first)
    assert errors_of(await run(llm)) == [(1, "ServerError"), (2, None)]


async def test_an_attempt_that_cannot_be_read_is_left_out(run: Runs, redis: AnyRedis) -> None:
    llm = ScriptedLLM(errors.ServerError("x"), ANSWER)
    await redis.rpush(KEYS.attempts("j1"), b"{", b'{"number": "of another version"}')
    with pytest.raises(Retry):
        await run(llm)
    assert errors_of(await run(llm)) == [(1, "ServerError"), (2, None)]
