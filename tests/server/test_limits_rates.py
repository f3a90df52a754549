"""Requests, tokens and dollars in claim.lua: buckets, days and budgets, against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from client import Limits
from tests.conftest import KEYS, Server
from tests.server.limits_room import MODEL, LimitsRoom, limited, used
from tests.server.test_engine_room import ids

DAY_MS = 86_400_000
LANE = f"{MODEL}|tenant:acme"


@pytest.fixture
async def room(server: Server) -> AsyncIterator[LimitsRoom]:
    async with limited(server) as room:
        yield room


# -- requests --------------------------------------------------------------------------------------


async def test_a_tenth_of_a_minutes_requests_go_at_once(room: LimitsRoom) -> None:
    room.limit(MODEL, rpm=100)
    room.calls(20)
    claim = await room.claim()
    assert len(claim.jobs) == 10
    assert 500 < claim.next_ms - claim.now_ms <= 601  # one each 600 ms


@pytest.mark.parametrize(
    ("rpm", "ms", "more"), [(60, 1_001, 1), (60, 3_001, 3), (60, 99_000, 6), (6, 10_001, 1)]
)
async def test_requests_flow_in_evenly_up_to_the_brim(room: LimitsRoom, rpm: int, ms: int, more: int) -> None:
    room.limit(MODEL, rpm=rpm)
    room.calls(20)
    assert len((await room.claim()).jobs) == max(1, rpm / 10)
    assert (await room.claim()).jobs == []
    room.age(ms)
    assert len((await room.claim(18)).jobs) == more


async def test_the_next_look_is_when_the_next_request_may_go(room: LimitsRoom) -> None:
    room.limit(MODEL, rpm=6)
    room.calls(2)
    await room.claim()
    claim = await room.claim()
    assert 9_900 <= claim.next_ms - claim.now_ms <= 10_000
    room.age(claim.next_ms - claim.now_ms)
    assert ids(await room.claim()) == ["1"]


async def test_what_the_provider_says_it_allows_counts_where_it_is_less(room: LimitsRoom) -> None:
    room.set_flow(MODEL, rpm_seen=30)
    room.calls(20)
    assert len((await room.claim()).jobs) == 3
    room.limit("anthropic/c", rpm=20)
    room.set_flow("anthropic/c", rpm_seen=3_000)
    room.calls(20, "anthropic/c", "c")
    assert len((await room.claim()).jobs) == 2


async def test_one_bucket_for_a_key_of_many_lanes(room: LimitsRoom) -> None:
    room.limit("openai", rpm=100)
    for n in range(5):
        room.calls(5, f"openai/m{n}", f"{n}-")
    taken = (await room.claim()).jobs
    assert len(taken) == 10
    assert {job.lease.lane for job in taken} == {KEYS.lane(f"openai/m{n}") for n in range(5)}


# -- tokens ----------------------------------------------------------------------------------------


async def test_a_tenth_of_a_minutes_tokens_go_at_once_and_the_rest_as_they_flow_in(room: LimitsRoom) -> None:
    room.limit(MODEL, tpm=60_000)
    for n in range(10):
        room.call(str(n), tokens=1_000, output=500)
    claim = await room.claim()
    assert ids(claim) == ["0", "1", "2", "3"]  # 6,000 tokens
    assert [job.tokens for job in claim.jobs] == [1_500] * 4
    claim = await room.claim()
    assert 1_400 <= claim.next_ms - claim.now_ms <= 1_500
    room.age(claim.next_ms - claim.now_ms)
    assert ids(await room.claim()) == ["4"]


async def test_a_call_larger_than_the_bucket_goes_when_it_is_full_and_leaves_a_debt(room: LimitsRoom) -> None:
    room.limit(MODEL, tpm=6_000)
    room.call("large", tokens=900)
    room.call("small", tokens=1)
    assert ids(await room.claim()) == ["large"]
    assert -300 <= room.flow(MODEL)["tok"] < -290
    room.age(2_900)
    assert (await room.claim()).jobs == []
    room.age(200)
    assert ids(await room.claim()) == ["small"]


async def test_a_debt_is_a_minute_at_most(room: LimitsRoom) -> None:
    room.limit(MODEL, tpm=600)
    room.call("a", tokens=1_000_000)
    await room.claim()
    assert room.flow(MODEL)["tok"] == -600


async def test_a_job_without_an_estimate_reserves_none(room: LimitsRoom) -> None:
    room.limit(MODEL, tpm=10, tpd=1)
    room.calls(5)
    assert [job.tokens for job in (await room.claim()).jobs] == [0] * 5


async def test_all_of_a_lanes_keys_must_have_the_tokens(room: LimitsRoom) -> None:
    room.limit(MODEL, tpm=10_000)
    room.limit("tenant:acme", tpm=1_000)
    for n in range(3):
        room.call(str(n), LANE, tokens=100)
    assert ids(await room.claim()) == ["0"]
    assert room.flow(MODEL)["tok"] == 900


# -- days and budgets ------------------------------------------------------------------------------


async def test_the_tokens_of_a_day_come_back_with_the_next_day(room: LimitsRoom) -> None:
    room.limit("tenant:acme", tpd=250)
    for n in range(3):
        room.call(str(n), LANE, tokens=100)
    assert ids(await room.claim()) == ["0", "1"]
    claim = await room.claim()
    assert claim.jobs == []
    assert room.score(KEYS.gates, "tenant:acme") == -(-claim.now_ms // DAY_MS) * DAY_MS
    room.set_flow("tenant:acme", day=room.flow("tenant:acme")["day"] - 1)  # that was yesterday
    room.raw.zadd(KEYS.gates, {"tenant:acme": room.now_ms()})
    assert ids(await room.claim()) == ["2"]
    assert room.flow("tenant:acme")["day_tok"] == 100


async def test_the_requests_of_a_day_come_back_with_the_next_day_and_what_was_not_sent_counts_not(
    room: LimitsRoom,
) -> None:
    room.limit("tenant:acme", rpd=3)
    for n in range(6):
        room.call(str(n), LANE, tokens=100)
    claim = await room.claim()
    assert ids(claim) == ["0", "1", "2"]
    assert (await room.claim()).jobs == []
    assert room.score(KEYS.gates, "tenant:acme") == -(-claim.now_ms // DAY_MS) * DAY_MS
    back = claim.jobs[0]
    assert await room.finish(back.lease, "back", use=used(requests=1, tokens=100))
    assert ids(await room.claim()) == ["0"]
    room.set_flow("tenant:acme", day=room.flow("tenant:acme")["day"] - 1)  # that was yesterday
    room.raw.zadd(KEYS.gates, {"tenant:acme": room.now_ms()})
    assert ids(await room.claim()) == ["3", "4", "5"]


async def test_a_budget_is_never_passed_and_what_waits_for_it_goes_when_it_is_raised(
    room: LimitsRoom,
) -> None:
    room.limit("tenant:acme", usd_total=2.5)
    room.set_flow(MODEL, in_usd=0.01, out_usd=0.01)
    for n in range(4):
        room.call(str(n), LANE, tokens=100)
    claim = await room.claim()
    assert [(job.lease.job_id, job.usd) for job in claim.jobs] == [("0", 1.0), ("1", 1.0)]
    await room.finish(claim.jobs[0].lease)
    assert (await room.claim()).jobs == []
    room.limit("tenant:acme", usd_total=3)
    assert ids(await room.claim()) == ["2"]
    assert await Limits(room.pool).reset("tenant:acme")
    assert ids(await room.claim()) == ["3"]


async def test_a_days_budget_comes_back_with_the_next_day_and_a_total_does_not(room: LimitsRoom) -> None:
    room.limit("tenant:acme", usd_per_day=1, usd_total=2)
    room.set_flow(MODEL, in_usd=0.01, out_usd=0.01)
    for n in range(4):
        room.call(str(n), LANE, tokens=100)
    for names in (["0"], ["1"], []):
        assert ids(await room.claim()) == names
        assert (await room.claim()).jobs == []
        room.set_flow("tenant:acme", day=room.flow("tenant:acme")["day"] - 1)
        room.raw.zadd(KEYS.gates, {"tenant:acme": room.now_ms()})


async def test_what_a_job_did_not_spend_lets_the_next_one_go(room: LimitsRoom) -> None:
    room.limit("tenant:acme", usd_total=1)
    room.set_flow(MODEL, in_usd=0.01, out_usd=0.01)
    for n in range(2):
        room.call(str(n), LANE, tokens=100)
    (job,) = (await room.claim()).jobs
    await room.finish(job.lease, use=used(tokens=100, usd=1))
    assert ids(await room.claim()) == ["1"]


async def test_under_a_budget_a_model_of_unknown_price_goes_one_at_a_time(room: LimitsRoom) -> None:
    room.limit("tenant:acme", usd_total=5)
    for n in range(3):
        room.call(str(n), LANE, tokens=100)
    (job,) = (await room.claim()).jobs
    assert (await room.claim()).jobs == []
    await room.finish(job.lease)
    assert ids(await room.claim()) == ["1"]
    room.set_flow(MODEL, in_usd=0.001, out_usd=0.001)  # learned from its answer
    room.raw.zadd(KEYS.gates, {"tenant:acme": room.now_ms()})
    assert ids(await room.claim()) == ["2"]


async def test_a_model_of_unknown_price_waits_for_one_that_was_taken_in_the_same_claim(
    room: LimitsRoom,
) -> None:
    room.limit("tenant:acme", usd_total=5)
    room.set_flow("openai/known", in_usd=0.001, out_usd=0.001)
    room.call("known", "openai/known|tenant:acme", tokens=10)
    room.call("unknown", LANE, tokens=10)
    room.raw.zadd(KEYS.lanes, {KEYS.lane("openai/known|tenant:acme"): 1})  # it goes first
    assert ids(await room.claim()) == ["known"]


async def test_a_model_that_costs_nothing_goes_under_any_budget(room: LimitsRoom) -> None:
    room.limit("tenant:acme", usd_per_day=0)
    room.set_flow(MODEL, unpriced=1)
    for n in range(3):
        room.call(str(n), LANE, tokens=100)
    assert [job.usd for job in (await room.claim()).jobs] == [0] * 3
