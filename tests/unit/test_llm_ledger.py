"""What is taken down of an attempt, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
from arq import Retry

from client import errors
from client.wire.schemas import Attempt, Usage
from promptmill.dialects import Delta
from tests.unit.given_llm import ANSWER, Runs, ScriptedLLM, redis, run
from worker.jobs.call import CallProgress

__all__ = ["redis", "run"]

USAGE = Usage(input_tokens=9, output_tokens=2)

Booked: TypeAlias = Callable[..., Awaitable[tuple[Any, Attempt, str]]]


@pytest.fixture
def booked(run: Runs) -> Booked:
    """The attempt that the totals are told of."""

    async def booked(
        *outcomes: Any, lane: str = "openai/gpt-4o-mini|tenant:acme"
    ) -> tuple[Any, Attempt, str]:
        run.lane = lane
        try:
            result: object = await run(ScriptedLLM(*outcomes))
        except BaseException as error:
            result = error
        ((attempt, tenant),) = run.totals
        return result, attempt, tenant

    return booked


async def test_an_answer_tells_its_tokens_and_its_cost(booked: Booked) -> None:
    answer, attempt, tenant = await booked(ANSWER)
    assert (attempt.usage, attempt.error, tenant) == (USAGE, None, "acme")
    assert attempt.cost_usd == answer.cost_usd
    assert answer.attempts == [attempt]


@pytest.mark.parametrize(
    ("error", "cost"),
    [
        (errors.RateLimited("slow", status=429), 0.0),
        (errors.BadRequest("no", status=400), 0.0),
        (errors.ServerError("x", status=500), 0.0),
        (errors.ServerError("x", status=504), None),
        (errors.ProviderTimeout("late"), None),
        (errors.ContentFiltered("no"), None),
        (errors.MalformedResponse("half"), None),
    ],
)
async def test_a_failure_cost_nothing_only_where_that_is_known(
    booked: Booked, error: errors.JobError, cost: float | None
) -> None:
    _, attempt, _ = await booked(error)
    assert (attempt.usage, attempt.cost_usd) == (None, cost)
    assert attempt.error == type(error).__name__


@pytest.mark.parametrize(
    "error", [errors.ProviderUnreachable("refused", sent=False), errors.BadRequest("it has no words")]
)
async def test_what_was_never_sent_is_an_attempt_and_no_call(run: Runs, error: errors.JobError) -> None:
    with pytest.raises((Retry, errors.BadRequest)):
        await run(ScriptedLLM(error))
    assert (run.totals, run.totals.open) == ([], 0)
    (attempt,) = run.ctx.meter.attempts
    assert (attempt.error, attempt.cost_usd) == (type(error).__name__, 0.0)


async def test_a_call_is_counted_from_its_beginning(run: Runs) -> None:
    class Looking(ScriptedLLM):
        async def chat(self, request: Any, *, call_id: str) -> Any:
            assert run.totals.open == 1
            return ANSWER

    await run(Looking())
    assert (run.totals.open, len(run.totals)) == (0, 1)


async def test_a_cancelled_call_is_taken_down(booked: Booked) -> None:
    ended, attempt, _ = await booked(asyncio.CancelledError())
    assert isinstance(ended, asyncio.CancelledError)
    assert (attempt.error, attempt.usage, attempt.cost_usd) == ("CancelledError", None, None)


async def test_an_answer_without_usage_has_none(booked: Booked) -> None:
    _, attempt, tenant = await booked(
        SimpleNamespace(**{name: getattr(ANSWER, name) for name in ANSWER.__slots__} | {"usage": Usage()}),
        lane="openai/gpt-4o-mini",
    )
    assert (attempt.usage, attempt.cost_usd, tenant) == (None, None, "-")


async def test_a_stream_that_breaks_off_has_cost_what_it_had_told(run: Runs) -> None:
    heard: list[Delta] = []
    progress = CallProgress(heard.append)
    deltas = [
        Delta(usage=Usage(input_tokens=9, output_tokens=1)),
        Delta(text="Hel"),
        Delta(usage=Usage(output_tokens=2)),
    ]
    for delta in deltas:
        progress.hear(delta)
    assert heard == deltas
    assert progress.usage == USAGE
    assert progress.ttft_s is not None


async def test_a_call_whose_worker_died_is_told_of_and_uses_no_try(run: Runs) -> None:
    await run.crash(began_s=1_700_000_000, seen_s=1_700_000_016.5)
    answer = await run(ScriptedLLM(ANSWER, max_tries=1))
    lost, paid = answer.attempts
    assert (lost.number, lost.error, lost.usage, lost.cost_usd) == (1, "JobCrashed", None, None)
    assert (lost.model, lost.started_at.timestamp(), lost.duration_s) == (paid.model, 1_700_000_000, 16.5)
    assert (paid.number, paid.error) == (2, None)


async def test_each_dead_worker_is_told_of_once(run: Runs) -> None:
    llm = ScriptedLLM(errors.ServerError("x", status=500), errors.ServerError("x", status=500), ANSWER)
    await run.crash()
    with pytest.raises(Retry):
        await run(llm)
    await run.crash()
    with pytest.raises(Retry):
        await run(llm)
    answer = await run(llm)
    assert [each.error for each in answer.attempts] == [
        "JobCrashed",
        "ServerError",
        "JobCrashed",
        "ServerError",
        None,
    ]
    assert [each.number for each in answer.attempts] == [1, 2, 3, 4, 5]
    made = [
        each for each in answer.attempts if each.error != "JobCrashed"
    ]  # those were counted as they began
    assert [each for each, _ in run.totals] == made
