"""A job runs in its model's lane, and goes on to the next model where its own cannot answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from arq import Retry
from pydantic_core import from_json

from client import encode, errors
from client.wire.keys import KEYS
from client.wire.schemas import ChatRequest, Completion, Embeddings, EmbedRequest, Usage
from promptmill.dialects import EmbedAnswer
from tests.conftest import AnyRedis
from tests.unit.given_llm import ANSWER, HI, Runs, ScriptedLLM, redis, run
from worker.context import Meter
from worker.jobs import chat, embed
from worker.jobs.reroute import lane_for, payload_for
from worker.signals import Reroute, Throttled

__all__ = ["redis", "run"]

NANO = "openai/gpt-nano"
CLAUDE = "anthropic/claude"


def asked(**fields: Any) -> ChatRequest:
    return ChatRequest.model_validate({**HI, **fields})


def fields_of(job: Completion | Embeddings) -> list[tuple[str, str | None]]:
    return [(attempt.model, attempt.error) for attempt in job.attempts]


# -- lanes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "lane", "expected"),
    [
        ("openai/gpt-4o", "", "openai/gpt-4o"),
        ("OpenAI/gpt-4o", "", "openai/gpt-4o"),
        (None, "", "@chat"),
        ("gpt-4o", "acme", "@chat/gpt-4o|acme"),
        ("openai/gpt-4o", "anthropic/claude|tenant:a|bulk", "openai/gpt-4o|tenant:a|bulk"),
        ("openai/gpt-4o", "@chat|tenant:a", "openai/gpt-4o|tenant:a"),
        ("openai/gpt-4o", "@chat/gpt-nano|tenant:a", "openai/gpt-4o|tenant:a"),
        ("openai/gpt-4o", "tenant:a/b|bulk", "openai/gpt-4o|tenant:a/b|bulk"),
        ("openai/gpt-4o", "bulk|local/x", "openai/gpt-4o|bulk|local/x"),
        ("vertex/claude@2025", "bulk", "vertex/claude-2025|bulk"),
    ],
)
def test_a_lane_gets_another_model_and_keeps_its_other_parts(
    model: str | None, lane: str, expected: str
) -> None:
    assert lane_for(asked(model=model), lane) == expected


def test_an_embedding_without_a_model_has_an_alias_of_its_own() -> None:
    assert lane_for(EmbedRequest(texts=["a"]), "bulk") == "@embed|bulk"


@pytest.mark.parametrize("place", [{"a": [HI], "k": {}}, {"a": [], "k": {"request": HI}}])
def test_a_record_gets_its_lane_and_the_estimates_it_is_admitted_by(place: dict[str, Any]) -> None:
    record = {"t": 2, "f": "chat", **place, "et": 7}
    moved = payload_for(KEYS, encode(record), "openai/gpt-4o", asked(max_tokens=50))
    assert moved.startswith(b'{"n":5,"m":50,"t":2,')
    assert from_json(moved) == {"n": 5, "m": 50, **record, "q": "mill:lane:openai/gpt-4o"}


def test_a_record_that_has_estimates_keeps_them() -> None:
    record: dict[str, Any] = {
        "n": 77,
        "m": 0,
        "t": None,
        "f": "chat",
        "a": [HI],
        "k": {},
        "et": 7,
        "q": "arq:queue",
    }
    moved = payload_for(KEYS, encode(record), "a", asked())
    assert moved.startswith(b'{"n":77,"m":0,"t":null,')
    assert from_json(moved)["q"] == KEYS.lane("a")


async def test_a_job_outside_of_its_models_lane_is_moved_before_any_call(run: Runs) -> None:
    run.lane = ""
    llm = ScriptedLLM(ANSWER)
    with pytest.raises(Reroute) as moved:
        await run(llm, request={**HI, "model": "openai/gpt-4o"})
    assert moved.value.lane == "openai/gpt-4o"
    assert llm.call_ids == []
    assert run.ctx.meter == Meter()
    assert (await run(llm)).text == "Hello"
    assert llm.call_ids == ["j1:1"]


async def test_texts_in_the_default_queue_are_moved_too(run: Runs) -> None:
    run.lane = ""
    llm = ScriptedLLM(EmbedAnswer([[1.0]], "e", Usage(input_tokens=1, output_tokens=0)))
    with pytest.raises(Reroute):
        await run(llm, embed, {"texts": ["a"]})
    assert (run.lane, (run.payload or b"")[:14]) == ("@embed", b'{"n":1,"m":-1,')
    assert (await run(llm, embed)).vectors == [[1.0]]


async def test_a_model_whose_name_is_no_limit_key_is_limited_by_one_that_is(run: Runs) -> None:
    run.lane = ""
    llm = ScriptedLLM(errors.RateLimited("x", status=429), ANSWER)
    with pytest.raises(Reroute):
        await run(llm, request={**HI, "model": "openai/gpt@1"})
    with pytest.raises(Throttled) as turned:
        await run(llm)
    assert turned.value.defer_score is None


async def test_a_lane_that_is_right_but_brought_no_limits_costs_no_second_move(
    run: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.unit.given_llm._limit_keys", lambda *_: ())
    llm = ScriptedLLM(errors.RateLimited("x", status=429, retry_after_s=2))
    with pytest.raises(Throttled) as turned:
        await run(llm)
    assert (turned.value.defer_score or 0) >= 2000


# -- the meter ---------------------------------------------------------------------------------------


async def test_an_answer_is_metered(run: Runs) -> None:
    await run(ScriptedLLM(ANSWER))
    meter = run.ctx.meter
    assert (meter.called, meter.answered, meter.tokens, meter.output_tokens) == (True, True, 11, 2)
    assert meter.usd is None or 0 < meter.usd < 1


async def test_a_refusal_is_metered(run: Runs) -> None:
    with pytest.raises(Throttled):
        await run(ScriptedLLM(errors.RateLimited("x", status=429, retry_after_s=3)))
    assert run.ctx.meter == Meter(called=True, tokens=0, usd=0.0, refused=True, refused_s=3)


@pytest.mark.parametrize("end", [asyncio.CancelledError, RuntimeError])
async def test_a_call_that_is_cut_short_counts_as_made(run: Runs, end: type[BaseException]) -> None:
    with pytest.raises(end):
        await run(ScriptedLLM(end()))
    assert run.ctx.meter == Meter(called=True)


# -- fallbacks ---------------------------------------------------------------------------------------


async def test_each_fallback_has_all_tries_and_the_answer_tells_every_attempt(run: Runs) -> None:
    broken = [errors.ServerError(str(n), status=500) for n in range(4)]
    llm = ScriptedLLM(
        *broken, errors.ModelNotFound("x", status=404), ANSWER, max_tries=2, anthropic_api_key="k"
    )
    request = {**HI, "model": "openai/gpt-4o", "fallbacks": [NANO, CLAUDE, "gpt-4o-mini"], "max_tokens": 7}
    run.lane = "openai/gpt-4o|tenant:a"
    ends = []
    for _ in range(5):
        with pytest.raises((Retry, Reroute)) as end:
            await run(llm, request=request)
        ends.append(type(end.value).__name__)
    assert ends == ["Retry", "Reroute", "Retry", "Reroute", "Reroute"]
    assert run.lane == "@chat/gpt-4o-mini|tenant:a"
    assert run.payload is not None
    record = from_json(run.payload)
    assert record["a"] == [{**HI, "model": "gpt-4o-mini", "fallbacks": [], "max_tokens": 7}]
    assert record["q"] == KEYS.lane(run.lane)

    answer = await run(llm)
    assert answer.model == "openai/gpt-4o-mini-2024-07-18"
    assert fields_of(answer) == [
        ("openai/gpt-4o", "ServerError"),
        ("openai/gpt-4o", "ServerError"),
        (NANO, "ServerError"),
        (NANO, "ServerError"),
        (CLAUDE, "ModelNotFound"),
        ("openai/gpt-4o-mini", None),
    ]
    assert llm.call_ids == [f"j1:{number}" for number in range(1, 7)]


async def test_when_all_models_have_failed_the_last_ones_error_is_raised(run: Runs, redis: AnyRedis) -> None:
    llm = ScriptedLLM(errors.QuotaExhausted("a", status=429), errors.ServerError("b"), max_tries=1)
    with pytest.raises(Reroute):
        await run(llm, request={**HI, "fallbacks": [NANO]})
    with pytest.raises(errors.ServerError, match="b") as raised:
        await run(llm)
    assert raised.value.details["attempts"] == 2
    assert await redis.llen(KEYS.attempts("j1")) == 2


async def test_a_model_without_a_provider_is_passed_over(run: Runs, caplog: pytest.LogCaptureFixture) -> None:
    llm = ScriptedLLM(ANSWER)
    for _ in range(2):
        with pytest.raises(Reroute):
            await run(llm, request={**HI, "model": "nowhere/x", "fallbacks": ["elsewhere/y", NANO]})
    answer = await run(llm)
    passed = errors.ProviderNotConfigured.__name__
    assert fields_of(answer) == [("nowhere/x", passed), ("elsewhere/y", passed), (NANO, None)]
    assert [attempt.sent for attempt in answer.attempts] == [False, False, True]
    assert "nowhere" in (answer.attempts[0].reason or "")
    assert "elsewhere/y" in caplog.text


async def test_the_last_model_without_a_provider_is_an_error_that_counts_the_calls_before(run: Runs) -> None:
    llm = ScriptedLLM(errors.ContextTooLong("x"))
    with pytest.raises(Reroute):
        await run(llm, request={**HI, "fallbacks": ["nowhere/x"]})
    with pytest.raises(errors.ProviderNotConfigured) as raised:
        await run(llm)
    assert raised.value.details["attempts"] == 1


async def test_a_wrong_request_is_not_sent_to_another_model(run: Runs) -> None:
    llm = ScriptedLLM(errors.BadRequest("x", status=400))
    with pytest.raises(errors.BadRequest):
        await run(llm, request={**HI, "fallbacks": [NANO]})


async def test_being_turned_away_keeps_the_model(run: Runs) -> None:
    llm = ScriptedLLM(*[errors.Overloaded("x", status=529)] * 9, ANSWER, max_tries=1)
    for _ in range(9):
        with pytest.raises(Throttled):
            await run(llm, request={**HI, "fallbacks": [NANO]})
    assert (await run(llm)).attempts[-1].model == "openai/gpt-4o-mini"


@pytest.mark.parametrize("fallbacks", ["openai/x", ["a b"], [""], ["a/b"] * 9])
async def test_fallbacks_are_eight_models_at_most(run: Runs, fallbacks: object) -> None:
    with pytest.raises(errors.BadRequest, match="fallbacks"):
        await run(ScriptedLLM(), chat, {**HI, "fallbacks": fallbacks})


async def test_a_model_that_takes_no_calls_is_passed_over_without_one(run: Runs) -> None:
    llm = ScriptedLLM(ANSWER)
    run.shut = "openai usd_per_day"
    with pytest.raises(Reroute):
        await run(llm, request={**HI, "model": "openai/gpt-4o", "fallbacks": [NANO]})
    run.shut = ""
    answer = await run(llm)
    assert fields_of(answer) == [("openai/gpt-4o", "SlotTimeout"), (NANO, None)]
    assert [attempt.sent for attempt in answer.attempts] == [False, True]
    why = "openai/gpt-4o takes no calls now: openai has spent its budget of the day."
    assert answer.attempts[0].reason == why
    assert llm.call_ids == ["j1:2"]


async def test_the_last_error_tells_what_became_of_the_models_before(run: Runs) -> None:
    asked = {**HI, "model": "openai/gpt-4o", "fallbacks": ["nowhere/x", NANO]}
    broken = errors.QuotaExhausted("openai/gpt-4o answered 429: no money.", status=429)
    llm = ScriptedLLM(broken, errors.BadRequest("It is wrong.", status=400))
    for _ in range(2):
        with pytest.raises(Reroute):
            await run(llm, request=asked)
    with pytest.raises(errors.BadRequest) as raised:
        await run(llm)
    assert str(raised.value) == "It is wrong. Before that: openai/gpt-4o answered 429: no money."
    before = raised.value.details["before"]
    assert [(past["model"], past["error"]) for past in before] == [
        ("openai/gpt-4o", "QuotaExhausted"), ("nowhere/x", "ProviderNotConfigured"),
    ]  # fmt: skip
    assert errors.from_wire(raised.value.to_wire()).details == raised.value.details


async def test_a_refusal_of_a_model_that_was_not_the_first_is_followed_by_the_next(run: Runs) -> None:
    wrong = errors.BadRequest("Unknown field.", status=400)
    llm = ScriptedLLM(errors.QuotaExhausted("x", status=402), wrong, ANSWER)
    for _ in range(2):
        with pytest.raises(Reroute):
            await run(
                llm, request={**HI, "model": "openai/gpt-4o", "fallbacks": [NANO, "openai/gpt-4o-mini"]}
            )
    assert (await run(llm)).text == "Hello"
    with pytest.raises(errors.BadRequest):  # of the first, it is the request's own fault
        await Runs(run.redis)(
            ScriptedLLM(wrong), request={**HI, "model": "openai/gpt-4o", "fallbacks": [NANO]}
        )


async def test_what_was_written_for_one_form_does_not_reach_another(run: Runs) -> None:
    llm = ScriptedLLM(errors.QuotaExhausted("x", status=402), ANSWER, anthropic_api_key="k")
    extra = {"reasoning_effort": "low", "anthropic/thinking": {"type": "adaptive"}}
    with pytest.raises(Reroute):
        await run(llm, request={**HI, "model": "openai/gpt-4o", "fallbacks": [CLAUDE], "extra": extra})
    assert run.payload is not None
    moved = from_json(run.payload)["a"][0]["extra"]
    assert moved == {"@openai/reasoning_effort": "low", "anthropic/thinking": {"type": "adaptive"}}


async def test_a_record_tells_in_its_head_how_many_other_models_there_are(run: Runs) -> None:
    llm = ScriptedLLM(*[errors.QuotaExhausted("x", status=402)] * 2, ANSWER)
    heads = []
    for _ in range(2):
        with pytest.raises(Reroute):
            await run(
                llm, request={**HI, "model": "openai/gpt-4o", "fallbacks": [NANO, "openai/gpt-4o-mini"]}
            )
        assert run.payload is not None
        heads.append(run.payload[:20])
    assert heads == [b'{"n":5,"m":0,"o":1,"', b'{"n":5,"m":0,"t":nul']


@pytest.mark.parametrize(("left_s", "end"), [(80_000, Retry), (1, Reroute)])
async def test_whether_it_is_late_is_told_by_its_deadline(
    run: Runs, redis: AnyRedis, left_s: int, end: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis.set(KEYS.job("j1"), b"{}", ex=left_s)
    monkeypatch.setattr("tests.unit.given_llm.ENQUEUED_MS", time.time() * 1000 - 2_000)
    llm = ScriptedLLM(errors.ProviderTimeout("x"))
    with pytest.raises(end):
        await run(llm, request={**HI, "model": "openai/gpt-4o", "fallbacks": [NANO]})
