"""What a provider's refusals and answers do to what may be in flight, against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest

from client.limits.rules.retry_after import MAX_RETRY_AFTER_S
from promptmill.dialects.retry_after import DAILY_WAIT_S
from tests.conftest import KEYS, Server
from tests.server.limits_room import MODEL, OK, REFUSED, LimitsRoom, limited, used
from tests.server.test_engine_room import ids
from worker.engine.scripts import Claimed

COOLDOWN_MS = 10_000  # longer than any that nobody asked for


@pytest.fixture
async def room(server: Server) -> AsyncIterator[LimitsRoom]:
    async with limited(server) as room:
        yield room


async def refuse(room: LimitsRoom, *jobs: Claimed, wait_ms: int = 0, signal: str = "refused") -> None:
    """They are turned away one after the other, and go back to their place."""
    for job in jobs:
        use = used(signal=signal, wait_ms=wait_ms)
        assert await room.finish(job.lease, "throttled", ttl_ms=60_000, use=use)


async def answer(room: LimitsRoom, *jobs: Claimed) -> None:
    for job in jobs:
        assert await room.finish(job.lease, use=OK)


async def recovered(room: LimitsRoom) -> list[Claimed]:
    """After a cooldown and the ramp that follows one answer, all that go."""
    room.age(COOLDOWN_MS)
    await answer(room, *(await room.claim()).jobs)
    room.age(1_001)
    return (await room.claim(1_000)).jobs


# -- cooldown --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait_ms", [1_000, 7_000, 60_000, round(DAILY_WAIT_S * 1_000)])
async def test_a_cooldown_lasts_as_long_as_was_asked_and_a_tenth_more_at_most(
    room: LimitsRoom, wait_ms: int
) -> None:
    room.calls(1)
    now_ms = room.now_ms()
    await refuse(room, *(await room.claim()).jobs, wait_ms=wait_ms)
    lasts_ms = room.flow(MODEL)["cool_ms"] - now_ms
    assert wait_ms <= lasts_ms <= wait_ms * 1.1 + 50
    room.raw.delete(KEYS.returns)  # the end of the first lease, which nobody needs any more
    claim = await room.claim()
    assert claim.jobs == []
    assert claim.next_ms == min(room.flow(MODEL)["cool_ms"], claim.now_ms + 60_000)  # or a look to be safe
    room.age(wait_ms - 500)
    assert (await room.claim()).jobs == []
    room.age(round(lasts_ms) - wait_ms + 600)
    assert len((await room.claim()).jobs) == 1


async def test_a_wait_beyond_an_hour_is_asked_for_again_rather_than_believed(room: LimitsRoom) -> None:
    room.calls(1)
    now_ms = room.now_ms()
    await refuse(room, *(await room.claim()).jobs, wait_ms=86_400_000)
    most_ms = MAX_RETRY_AFTER_S * 1_000
    assert most_ms <= room.flow(MODEL)["cool_ms"] - now_ms <= most_ms * 1.1 + 50


async def test_where_nobody_says_how_long_the_cooldown_doubles_up_to_a_bound(room: LimitsRoom) -> None:
    room.calls(1)
    waits = []
    for _ in range(6):
        (job,) = (await room.claim()).jobs
        now_ms = room.now_ms()
        await refuse(room, job)
        waits.append(room.flow(MODEL)["cool_ms"] - now_ms)
        room.age(COOLDOWN_MS)
    for wait_ms, expected_ms in zip(waits, [500, 1_000, 2_000, 2_000, 2_000, 2_000], strict=True):
        assert expected_ms <= wait_ms <= expected_ms * 1.1 + 50


async def test_a_cooldown_of_one_model_stops_no_other(room: LimitsRoom) -> None:
    room.calls(2)
    room.calls(2, "openai/other", "o")
    job = next(job for job in (await room.claim(2)).jobs if job.lease.lane == KEYS.lane(MODEL))
    await refuse(room, job)
    assert ids(await room.claim()) == ["o1"]


async def test_after_a_cooldown_one_call_goes_first_and_its_answer_lets_the_others_go(
    room: LimitsRoom,
) -> None:
    room.calls(30)
    jobs = (await room.claim(20)).jobs
    await refuse(room, *jobs)
    room.age(COOLDOWN_MS)
    (probe,) = (await room.claim(worker="w1")).jobs
    assert (await room.claim(worker="w2")).jobs == []
    await answer(room, probe)
    room.age(1_001)
    assert len((await room.claim()).jobs) == 14  # 0.7 of what was in flight


async def test_a_probe_that_is_not_refused_for_a_second_is_as_good_as_answered(room: LimitsRoom) -> None:
    room.calls(30)
    await refuse(room, *(await room.claim(20)).jobs)
    room.age(COOLDOWN_MS)
    await room.claim()
    claim = await room.claim()
    assert claim.jobs == []
    assert 900 < claim.next_ms - claim.now_ms <= 1_000
    room.age(1_001)
    room.age(1_001 if await room.claim() else 0)
    assert len((await room.claim()).jobs) > 5


async def test_the_way_back_takes_a_second(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=100)
    room.calls(300)
    await refuse(room, *(await room.claim(100)).jobs)
    room.age(COOLDOWN_MS)
    await answer(room, *(await room.claim()).jobs)
    in_flight, seen = 0, []
    for _ in range(11):
        in_flight += len((await room.claim(1_000)).jobs)
        seen.append(in_flight)
        room.age(100)
    assert seen == sorted(seen)
    assert seen[0] < 50
    assert seen[4] < 70
    assert seen[-1] == 70


# -- the cut ---------------------------------------------------------------------------------------


async def test_a_refusal_cuts_once_a_round(room: LimitsRoom) -> None:
    room.calls(100)
    jobs = (await room.claim(100)).jobs
    await refuse(room, jobs[0])
    assert room.flow(MODEL)["eff"] == pytest.approx(70)
    await refuse(room, *jobs[1:60])  # claimed before the cut
    assert room.flow(MODEL)["eff"] == pytest.approx(70)


async def test_a_refusal_in_the_next_round_cuts_again(room: LimitsRoom) -> None:
    room.calls(200)
    await refuse(room, *(await room.claim(100)).jobs)
    jobs = await recovered(room)
    assert len(jobs) == 70
    await refuse(room, jobs[0])
    assert room.flow(MODEL)["eff"] == pytest.approx(49, abs=1)


@pytest.mark.parametrize("signal", ["refused", "overloaded"])
async def test_nothing_is_cut_while_the_provider_is_down_and_refuses_the_probes(
    room: LimitsRoom, signal: str
) -> None:
    room.calls(100)
    await refuse(room, *(await room.claim(100)).jobs, signal=signal)
    eff = room.flow(MODEL)["eff"]
    for _ in range(8):
        room.age(COOLDOWN_MS)
        (probe,) = (await room.claim()).jobs
        await refuse(room, probe, signal=signal)
    assert room.flow(MODEL)["eff"] == eff
    assert len(await recovered(room)) == 70


async def test_a_provider_that_cannot_be_reached_cools_down_and_keeps_its_number(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=100)
    room.calls(200)
    await refuse(room, *(await room.claim(100)).jobs, signal="unreached")
    assert (await room.claim()).jobs == []
    for n in range(2, 6):
        room.age(COOLDOWN_MS)
        (probe,) = (await room.claim(1_000)).jobs  # by whichever worker: one at a time
        await refuse(room, probe, signal="unreached")
        assert room.flow(MODEL)["cool_n"] == n
    assert "eff" not in room.flow(MODEL)
    assert len(await recovered(room)) == 100


async def test_a_probe_whose_connection_hangs_is_waited_for(room: LimitsRoom) -> None:
    room.calls(20)
    await refuse(room, *(await room.claim(10)).jobs, signal="unreached", wait_ms=4_000)
    room.age(COOLDOWN_MS)
    (probe,) = (await room.claim(1_000)).jobs
    room.age(4_500)
    assert (await room.claim(1_000)).jobs == []
    await answer(room, probe)
    room.age(1_001)
    assert len((await room.claim(1_000)).jobs) == 19
    assert "hang" not in room.flow(MODEL)


async def test_a_connection_that_fails_while_others_are_answered_waits_alone(room: LimitsRoom) -> None:
    room.calls(200)
    jobs = (await room.claim(50)).jobs
    await answer(room, *jobs[:20])
    await refuse(room, jobs[20], signal="unreached")
    assert len((await room.claim(10)).jobs) == 10
    assert room.flow(MODEL).get("cool_n", 0) == 0


async def test_a_number_that_was_found_outlives_an_outage_of_the_provider(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=50)
    room.calls(400)
    jobs = (await room.claim(50)).jobs
    await refuse(room, *jobs[20:])
    await answer(room, *jobs[:20])
    jobs = await recovered(room)
    found = room.flow(MODEL)["bad"]
    await refuse(room, *jobs, signal="unreached")
    for _ in range(3):
        room.age(COOLDOWN_MS)
        await refuse(room, *(await room.claim()).jobs, signal="unreached")
    again = await recovered(room)
    assert room.flow(MODEL)["bad"] == found
    assert len(again) in (len(jobs), len(jobs) + 1)


async def test_a_single_call_that_is_refused_leaves_one(room: LimitsRoom) -> None:
    room.calls(3)
    await refuse(room, *(await room.claim(1)).jobs)
    room.age(COOLDOWN_MS)
    assert len((await room.claim()).jobs) == 1


async def test_the_next_claim_after_a_refusal_keeps_to_the_cut_of_those_still_in_flight(
    room: LimitsRoom,
) -> None:
    room.calls(30)
    jobs = (await room.claim(20)).jobs
    await refuse(room, jobs[0])
    room.age(COOLDOWN_MS)  # the leases are longer
    assert (await room.claim()).jobs == []  # nineteen are in flight, and fourteen may be


# -- finding what the provider takes ---------------------------------------------------------------


@pytest.mark.parametrize("takes", [1, 4, 40, 300])
async def test_what_the_provider_takes_is_found_in_one_round(room: LimitsRoom, takes: int) -> None:
    room.limit(MODEL, concurrency=500)
    room.calls(1_500)
    jobs = (await room.claim(500)).jobs
    Random(takes).shuffle(jobs)
    await refuse(room, *jobs[takes:])
    await answer(room, *jobs[:takes])
    assert max(1, 0.85 * takes) <= room.flow(MODEL)["eff"] <= takes
    room.age(COOLDOWN_MS)
    probes = (await room.claim(1_000)).jobs
    await answer(room, *probes)
    room.age(1_001)
    assert max(1, 0.85 * takes) <= len((await room.claim(1_000)).jobs) <= takes + 1


async def test_it_settles_below_what_is_refused_and_stays_there_until_a_probe(room: LimitsRoom) -> None:
    room.calls(9_000)
    jobs = (await room.claim(100)).jobs
    await refuse(room, *jobs[40:])
    await answer(room, *jobs[:40])
    bad = room.flow(MODEL)["bad"]
    assert 38 <= bad <= 41
    room.set_flow(MODEL, probe_ms=room.now_ms() + 30_000)
    room.age(COOLDOWN_MS)
    until_ms = room.flow(MODEL)["probe_ms"]
    while room.now_ms() + 1_500 < until_ms:
        room.age(1_000)
        until_ms -= 1_000
        jobs = (await room.claim(1_000)).jobs
        assert len(jobs) < bad
        await answer(room, *jobs)
    assert bad - 2 <= len(jobs) < bad


async def test_a_probe_goes_one_beyond_and_the_next_gap_is_twice_as_long(room: LimitsRoom) -> None:
    room.calls(3_000)
    room.set_flow(MODEL, eff=9, bad=10, probe_ms=room.now_ms() + 5_000, gap_ms=5_000)
    await answer(room, *(await room.claim(100)).jobs)
    assert room.flow(MODEL)["eff"] == 9
    room.age(5_001)
    await answer(room, *(await room.claim(100)).jobs)
    flow = room.flow(MODEL)
    assert (flow["eff"], flow["gap_ms"]) == (10, 10_000)
    assert 9_900 < flow["probe_ms"] - room.now_ms() <= 10_000
    assert len((await room.claim(100)).jobs) == 10


@pytest.mark.parametrize("signal", ["refused", "overloaded"])
async def test_a_probe_that_is_refused_costs_its_own_call_and_no_other_waits(
    room: LimitsRoom, signal: str
) -> None:
    room.calls(3_000)
    up_ms = room.now_ms()
    room.set_flow(MODEL, eff=10, bad=10, up_ms=up_ms, probe_ms=up_ms + 5_000, gap_ms=5_000)
    jobs = (await room.claim(100)).jobs
    await refuse(room, jobs[-1], signal=signal)
    flow = room.flow(MODEL)
    assert (flow["eff"], flow["bad"], flow["gap_ms"]) == (9, 10, 5_000)
    assert "cool_ms" not in flow
    assert (await room.claim(100)).jobs == []  # nine are in flight
    await answer(room, *jobs[:3])
    assert len((await room.claim(100)).jobs) == 3


async def test_a_number_that_was_found_by_accident_is_passed_within_seconds(room: LimitsRoom) -> None:
    """As by an overload that is over: the first probes come soon."""
    room.limit(MODEL, concurrency=20)
    room.calls(9_000)
    jobs = (await room.claim(100)).jobs
    await refuse(room, *jobs[8:])
    await answer(room, *jobs[:8])
    assert room.flow(MODEL)["bad"] == 9
    took_ms = 0
    while len(jobs := (await room.claim(100)).jobs) <= 9:
        await answer(room, *jobs)
        room.age(500)  # as long as a call takes
        took_ms += 500
        assert took_ms < 10_000


async def test_a_probe_that_holds_for_a_second_forgets_what_was_bad(room: LimitsRoom) -> None:
    room.calls(3_000)
    room.set_flow(MODEL, eff=10, bad=10, up_ms=room.now_ms(), probe_ms=room.now_ms() + 5_000, gap_ms=5_000)
    jobs = (await room.claim(100)).jobs
    await answer(room, jobs[0])
    assert room.flow(MODEL)["bad"] == 10
    room.age(1_001)
    await answer(room, *(await room.claim(100)).jobs)
    assert "bad" not in room.flow(MODEL)


async def test_answers_raise_a_limit_that_is_used_and_leave_one_that_is_not(room: LimitsRoom) -> None:
    room.set_flow(MODEL, eff=10)
    room.calls(5)
    await answer(room, *(await room.claim()).jobs)
    assert room.flow(MODEL)["eff"] == 10
    room.calls(3_000, prefix="more")
    for _ in range(5):
        before = room.flow(MODEL)["eff"]
        jobs = (await room.claim(1_000)).jobs
        assert len(jobs) == int(before)
        await room.finish_all(jobs, use=OK)
        assert before < room.flow(MODEL)["eff"] <= before * 1.06 + 1


async def test_the_users_ceiling_is_never_passed_and_a_limit_raised_to_it_is_forgotten(
    room: LimitsRoom,
) -> None:
    room.limit(MODEL, concurrency=12)
    room.set_flow(MODEL, eff=10)
    room.calls(3_000)
    for _ in range(40):
        jobs = (await room.claim(1_000)).jobs
        assert len(jobs) <= 12
        await answer(room, *jobs)
    assert len(jobs) == 12
    assert "eff" not in room.flow(MODEL)


async def test_a_model_that_is_never_refused_is_not_limited(room: LimitsRoom) -> None:
    room.calls(1_500)
    jobs = (await room.claim(1_500)).jobs
    assert len(jobs) == 1_500
    await room.finish_all(jobs[:500], use=OK)
    assert "eff" not in room.flow(MODEL)


# -- refusals that do not come from load -----------------------------------------------------------


async def busy(room: LimitsRoom, places: int = 20, jobs: int = 2_000) -> list[Claimed]:
    """So many calls in flight, under a limit of as many, a moment after one was answered among as many."""
    room.limit(MODEL, concurrency=places)
    room.calls(jobs)
    in_flight = (await room.claim(places)).jobs
    await answer(room, in_flight.pop())
    return in_flight + (await room.claim(places)).jobs


async def test_a_refusal_among_no_more_calls_than_were_just_answered_lets_its_own_call_wait_alone(
    room: LimitsRoom,
) -> None:
    in_flight = await busy(room, jobs=22)
    await refuse(room, in_flight[5])
    assert len((await room.claim()).jobs) == 1  # its place is taken at once, by another
    assert not {"eff", "bad", "cool_ms"} & room.flow(MODEL).keys()
    await answer(room, in_flight[6])
    assert (await room.claim()).jobs == []
    room.age(600)  # as long as a call waits alone
    assert ids(await room.claim()) == [in_flight[5].lease.job_id]


@pytest.mark.parametrize(("wait_ms", "alone"), [(0, True), (1_500, True), (20_000, False)])
async def test_a_provider_that_asks_for_a_longer_wait_means_everybody(
    room: LimitsRoom, wait_ms: int, alone: bool
) -> None:
    in_flight = await busy(room)
    await refuse(room, in_flight[0], wait_ms=wait_ms)
    assert bool((await room.claim()).jobs) is alone


async def test_refusals_that_answers_do_not_outweigh_are_load(room: LimitsRoom) -> None:
    in_flight = await busy(room)
    await refuse(room, *in_flight[:2])
    assert "eff" not in room.flow(MODEL)
    await refuse(room, in_flight[2])
    assert room.flow(MODEL)["eff"] < 20


async def test_one_refusal_in_fifty_never_lowers_what_may_be_in_flight(room: LimitsRoom) -> None:
    in_flight = await busy(room)
    dice = Random(2)
    for number in range(600):
        job = in_flight.pop(dice.randrange(len(in_flight)))
        await (refuse(room, job) if number % 50 == 7 else answer(room, job))
        in_flight += (await room.claim()).jobs
        assert len(in_flight) == 20
        room.age(25)


async def test_one_refusal_without_any_answer_before_it_is_made_up_for_within_a_few(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=20)
    room.calls(2_000)
    in_flight = (await room.claim()).jobs
    await refuse(room, in_flight.pop())
    await answer(room, *in_flight)
    in_flight = []
    for _ in range(120):
        room.age(100)
        in_flight += (await room.claim()).jobs
        if in_flight:
            await answer(room, in_flight.pop(0))
    room.age(100)
    assert len(in_flight + (await room.claim()).jobs) == 20


async def test_a_model_that_is_refused_for_minutes_is_asked_ever_more_rarely(room: LimitsRoom) -> None:
    room.calls(10)
    waits_ms = []
    for _ in range(40):
        (job,) = (await room.claim(1)).jobs
        now_ms = room.now_ms()
        await refuse(room, job)
        waits_ms.append(room.flow(MODEL)["cool_ms"] - now_ms)
        room.age(round(waits_ms[-1]) + 60_000)
    assert 2_000 < waits_ms[10] < waits_ms[25] <= 66_000
    assert max(waits_ms) <= 66_000


async def test_only_the_model_is_cut_by_its_refusals_not_the_tenant(room: LimitsRoom) -> None:
    room.limit("tenant:acme", rpm=6_000)
    room.calls(20, f"{MODEL}|tenant:acme")
    jobs = (await room.claim()).jobs
    assert await room.finish_all(jobs, "throttled", ttl_ms=60_000, use=REFUSED)
    assert "eff" in room.flow(MODEL)
    assert not {"eff", "cool_ms"} & set(room.flow("tenant:acme"))
