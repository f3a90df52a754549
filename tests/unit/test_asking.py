"""`ctx.llm.ask`: a slot, a call, the settlement and the ledger, in one line of a job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from client import InvalidRequest, errors
from client.limits.slots import Slot
from client.wire.schemas import ChatRequest
from tests.unit.given_llm import ANSWER, HI, ScriptedLLM, a_context
from worker.jobs import job_llm
from worker.jobs.job_llm import JobLLM


class Limits:
    """Gives every call its slot."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], dict[str, Any]]] = []
        self.slots: list[Slot] = []

    @asynccontextmanager
    async def slot(self, *names: str, **kwargs: Any) -> AsyncIterator[Slot]:
        self.asked.append((names, kwargs))
        self.slots.append(slot := Slot(None))
        try:
            yield slot
        except Exception as error:
            slot._ended(error)
            raise


def a_run(*outcomes: Any, held: tuple[str, ...] = (), **settings: Any) -> Any:
    ctx = a_context(ScriptedLLM(*outcomes, **settings), lane="tenant:acme", limit_keys=held)
    ctx["limits"] = Limits()
    return ctx


async def test_a_call_is_made_under_a_slot_settled_and_booked() -> None:
    ctx = a_run(ANSWER)
    answer = await JobLLM(ctx).ask("openai/gpt-4o", "x" * 40, "gpu-box", max_tokens=100, wait_s=3)
    assert answer is ANSWER
    assert ctx["limits"].asked == [(("openai/gpt-4o", "gpu-box"), {"tokens": 114, "wait_s": 3})]
    (slot,) = ctx["limits"].slots
    assert (slot._tokens, slot._output) == (11, 2)
    ((attempt, tenant),) = ctx.services.totals
    assert (attempt.number, attempt.model, attempt.usage, tenant) == (
        1,
        "openai/gpt-4o",
        ANSWER.usage,
        "acme",
    )
    assert slot._usd == attempt.cost_usd


async def test_calls_of_a_job_have_ids_of_their_own_and_its_meter_adds_them_up() -> None:
    ctx = a_run(ANSWER, ANSWER)
    llm = JobLLM(ctx)
    await llm.ask(None, "Hi")
    await llm.ask(None, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    assert ctx.services.llm.call_ids == ["j1:1", "j1:2"]
    assert (ctx.meter.requests, ctx.meter.tokens, ctx.meter.answered) == (2, 22, False)


async def test_a_job_in_its_models_lane_signals_for_its_calls() -> None:
    ctx = a_run(ANSWER, held=("openai/gpt-4o-mini", "openai"))
    await JobLLM(ctx).ask(None, "Hi")
    assert ctx.meter.answered


async def test_a_refusal_is_the_slots_and_costs_nothing() -> None:
    ctx = a_run(errors.RateLimited("slow", status=429, retry_after_s=4))
    with pytest.raises(errors.RateLimited):
        await JobLLM(ctx).ask("openai/gpt-4o", "Hi")
    (slot,) = ctx["limits"].slots
    assert (slot._signal, slot._wait_s, slot._tokens) == ("refused", 4, 0)
    ((attempt, _),) = ctx.services.totals
    assert (attempt.error, attempt.cost_usd) == ("RateLimited", 0)


async def test_of_a_call_that_broke_off_nobody_knows_what_it_used() -> None:
    ctx = a_run(errors.ProviderTimeout("late"))
    with pytest.raises(errors.ProviderTimeout):
        await JobLLM(ctx).ask("openai/gpt-4o", "Hi")
    assert ctx["limits"].slots[0]._tokens is None


async def test_a_call_that_was_never_sent_gives_all_back() -> None:
    ctx = a_run(errors.ProviderUnreachable("refused", sent=False), unreachable_s=0)
    with pytest.raises(errors.ProviderUnreachable):
        await JobLLM(ctx).ask("openai/gpt-4o", "Hi")
    (slot,) = ctx["limits"].slots
    assert (slot._signal, slot._tokens) == ("unreached", 0)
    assert (ctx.services.totals, ctx.services.totals.open) == ([], 0)


@pytest.mark.parametrize("held", [(), ("openai/gpt-4o", "openai")])
async def test_what_was_never_sent_is_asked_again_under_another_slot(
    held: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_llm, "backoff_s", lambda attempts, roll: 0.0)
    refused, hung = errors.ProviderUnreachable("x", sent=False), errors.ProviderTimeout("x", sent=False)
    ctx = a_run(refused, hung, ANSWER, held=held)
    assert await JobLLM(ctx).ask("openai/gpt-4o", "Hi") is ANSWER
    assert [slot._signal for slot in ctx["limits"].slots[:-1]] == ["unreached", "unreached"]
    assert (ctx.meter.requests, ctx.meter.unreached_s) == (1, None)  # the run has reached it in the end
    assert len(ctx.services.totals) == 1


async def test_what_may_have_been_sent_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = a_run(errors.ProviderUnreachable("x", sent=False), errors.ProviderUnreachable("cut off"))
    monkeypatch.setattr(job_llm, "backoff_s", lambda attempts, roll: 0.0)
    with pytest.raises(errors.ProviderUnreachable, match="cut off"):
        await JobLLM(ctx).ask("openai/gpt-4o", "Hi")


async def test_what_cannot_be_asked_is_refused_before_a_slot_is_taken() -> None:
    ctx = a_run()
    with pytest.raises(InvalidRequest, match="max_tokens"):
        await JobLLM(ctx).ask("openai/gpt-4o", "Hi", max_tokens=-1)
    assert ctx["limits"].asked == []


async def test_it_is_the_workers_llm_in_all_else() -> None:
    ctx = a_run(ANSWER)
    assert await JobLLM(ctx).chat(ChatRequest.model_validate(HI), call_id="mine") is ANSWER
    assert JobLLM(ctx).settings is ctx.services.llm.settings
