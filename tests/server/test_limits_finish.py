"""What finish.lua releases and settles, and what it leaves of a job that goes back, against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from client.wire.keys import ELSEWHERE_MS
from tests.conftest import KEYS, Server
from tests.server.limits_room import MODEL, LimitsRoom, limited, used
from tests.server.test_engine_room import LEASE_MS, ids, payload

LANE = f"{MODEL}|tenant:acme"
HELD = (MODEL, "openai", "tenant:acme")
VERBS = ("done", "dead", "retry", "throttled", "again", "back", "reroute")


@pytest.fixture
async def room(server: Server) -> AsyncIterator[LimitsRoom]:
    async with limited(server) as room:
        for key in HELD:
            room.limit(key, concurrency=1)
        yield room


# -- slots -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
async def test_every_ending_frees_every_slot_and_the_next_job_goes(room: LimitsRoom, verb: str) -> None:
    room.calls(2, LANE)
    (job,) = (await room.claim()).jobs
    to = KEYS.lane("other") if verb == "reroute" else ""
    assert await room.finish(job.lease, verb, ttl_ms=60_000, delay_ms=60_000, to=to)
    assert [room.holders(key) for key in HELD] == [set(), set(), set()]
    next_ = {"throttled": ["0"], "back": ["0"], "reroute": ["0", "1"]}.get(verb, ["1"])
    assert sorted(ids(await room.claim())) == next_


@pytest.mark.parametrize("second", VERBS)
async def test_finishing_twice_frees_once(room: LimitsRoom, second: str) -> None:
    room.calls(3, LANE)
    (first,) = (await room.claim()).jobs
    await room.finish(first.lease)
    await room.claim()
    assert not await room.finish(first.lease, second, ttl_ms=60_000, to=KEYS.lane("other"))
    assert [room.holders(key) for key in HELD] == [{"1"}, {"1"}, {"1"}]
    assert (await room.claim()).jobs == []


async def test_a_late_finish_frees_nothing_once_another_worker_runs_the_job(room: LimitsRoom) -> None:
    room.calls(1, LANE)
    (late,) = (await room.claim()).jobs
    room.age(LEASE_MS + 1)
    (current,) = (await room.claim(worker="w2")).jobs
    assert not await room.finish(late.lease, use=used(signal="ok"))
    assert [room.holders(key) for key in HELD] == [{"0"}, {"0"}, {"0"}]
    assert await room.finish(current.lease)


async def test_a_late_finish_that_is_accepted_takes_no_slot_from_who_has_it_now(room: LimitsRoom) -> None:
    room.calls(1, LANE, "a")
    (late,) = (await room.claim()).jobs
    room.calls(2, f"{MODEL}|tenant:b", "b")
    room.age(LEASE_MS + 1)
    assert ids(await room.claim(1, worker="w2")) == ["b0"]
    assert await room.finish(late.lease)
    assert room.holders(MODEL) == {"b0"}
    assert (await room.claim()).jobs == []


async def test_a_forged_token_frees_nothing(room: LimitsRoom) -> None:
    room.calls(1, LANE)
    (job,) = (await room.claim()).jobs
    forged = type(job.lease)(job.lease.job_id, job.lease.lane, job.lease.token + "x", job.lease.limit_keys)
    assert not await room.finish(forged, use=used(requests=1))
    assert room.holders(MODEL) == {"0"}


async def test_a_release_wakes_the_workers_where_somebody_waits(room: LimitsRoom) -> None:
    room.calls(2, LANE)
    (first,) = (await room.claim()).jobs
    await room.claim()
    assert await _heard(room, first) == [KEYS.done_channel("0").encode(), KEYS.wake_channel.encode()]
    (second,) = (await room.claim()).jobs
    assert await _heard(room, second) == [KEYS.done_channel("1").encode()]


async def _heard(room: LimitsRoom, job: Any) -> list[bytes]:
    with room.raw.pubsub() as pubsub:
        pubsub.psubscribe("*")
        pubsub.get_message(timeout=1)
        await room.finish(job.lease)
        room.raw.publish("end", "")
        heard: list[bytes] = []
        while not heard or heard[-1] != b"end":
            heard.append(pubsub.get_message(timeout=1)["channel"])
    return heard[:-1]


# -- settling --------------------------------------------------------------------------------------


async def test_tokens_that_were_not_used_are_given_back_and_those_beyond_are_taken(room: LimitsRoom) -> None:
    room.limit(MODEL, tpm=10_000)  # a bucket of a thousand
    for job_id, really in (("less", 100), ("more", 500)):
        room.call(job_id, tokens=300)
        (job,) = (await room.claim()).jobs
        assert job.tokens == 300
        before = room.flow(MODEL)["tok"]
        await room.finish(job.lease, use=used(tokens=300 - really))
        assert -0.001 < room.flow(MODEL)["tok"] - before - (300 - really) < 50


async def test_a_wrong_estimate_makes_a_debt_of_a_minute_at_most(room: LimitsRoom) -> None:
    room.limit(MODEL, tpm=10_000)
    room.call("a", tokens=300)
    (job,) = (await room.claim()).jobs
    await room.finish(job.lease, use=used(tokens=300 - 5_000_000))
    assert room.flow(MODEL)["tok"] == -10_000
    room.call("b", tokens=1)
    room.raw.delete(KEYS.returns)  # the end of the first lease, which nobody needs any more
    claim = await room.claim()
    assert 59_900 <= claim.next_ms - claim.now_ms <= 60_100
    room.age(60_100)
    assert ids(await room.claim()) == ["b"]


async def test_no_refund_fills_a_bucket_over_its_brim(room: LimitsRoom) -> None:
    room.limit(MODEL, tpm=10_000, rpm=100)
    room.call("a", tokens=300)
    (job,) = (await room.claim()).jobs
    await room.finish(job.lease, use=used(requests=1, tokens=900_000))
    assert (room.flow(MODEL)["tok"], room.flow(MODEL)["req"]) == (1_000, 10)


async def test_a_request_that_was_never_sent_is_given_back(room: LimitsRoom) -> None:
    room.limit(MODEL, rpm=10)  # a bucket of one
    room.calls(1)
    (job,) = (await room.claim()).jobs
    await room.finish(job.lease, "back", use=used(requests=1))
    assert ids(await room.claim()) == ["0"]


async def test_spending_is_counted_for_the_day_and_for_ever(room: LimitsRoom) -> None:
    room.limit("tenant:acme", usd_total=9, tpd=1_000)
    room.set_flow(MODEL, in_usd=0.01, out_usd=0.02)
    room.call("a", LANE, tokens=50, output=25)
    (job,) = (await room.claim()).jobs
    assert (job.tokens, job.usd) == (75, 1.0)
    await room.finish(job.lease, use=used(tokens=25, usd=0.75))
    flow = room.flow("tenant:acme")
    assert (flow["day_tok"], flow["day_usd"], flow["usd"]) == (50, 0.25, 0.25)


async def test_the_output_that_calls_write_is_learned_and_reserved_where_it_is_not_said(
    room: LimitsRoom,
) -> None:
    room.limit(MODEL, tpm=1_000_000)
    reserved = []
    for output in (100, 300, -1):
        room.call("a", tokens=10, output=0)
        (job,) = (await room.claim()).jobs
        reserved.append(job.tokens)
        await room.finish(job.lease, use=used(tokens=1, output=output))
    assert reserved == [10, 110, 120]  # a twentieth of the way to 300
    room.call("b", tokens=10, output=-1)
    assert (await room.claim()).jobs[0].tokens == 10


# -- jobs that go back, or elsewhere ---------------------------------------------------------------


async def test_a_job_turned_away_keeps_its_place_and_has_used_no_try(room: LimitsRoom) -> None:
    room.calls(2, LANE)
    (job,) = (await room.claim()).jobs
    assert await room.finish(job.lease, "throttled", ttl_ms=60_000)
    (again,) = (await room.claim()).jobs
    assert (again.lease.job_id, again.score_ms) == ("0", job.score_ms)
    assert (again.has_run, again.tries_used, again.crashes) == (True, 0, 0)


async def test_tries_that_were_used_are_kept_when_a_job_is_turned_away(room: LimitsRoom) -> None:
    room.calls(1, LANE)
    for verb in ("retry", "throttled"):
        (job,) = (await room.claim()).jobs
        await room.finish(job.lease, verb, ttl_ms=60_000, delay_ms=0)
    assert (await room.claim()).jobs[0].tries_used == 1


async def test_a_job_moves_into_another_lane_in_its_place_in_time(room: LimitsRoom) -> None:
    room.calls(1, LANE)
    (job,) = (await room.claim()).jobs
    other = KEYS.lane("anthropic/claude|tenant:acme")
    assert await room.finish(job.lease, "reroute", payload("new"), to=other)
    assert room.raw.zcard(job.lease.lane) == 0
    assert room.score(other, "0") == job.score_ms
    (moved,) = (await room.claim()).jobs
    assert (moved.lease.lane, moved.payload, moved.score_ms) == (other, payload("new"), job.score_ms)
    assert (moved.has_run, moved.tries_used, moved.crashes) == (False, 0, 0)
    assert room.raw.pttl(KEYS.job("0")) > 80_000_000
    assert KEYS.lane(LANE).encode() not in room.raw.zrange(KEYS.lanes, 0, -1)


async def test_a_job_that_leaves_arqs_queue_is_still_found_there_until_it_ends(room: LimitsRoom) -> None:
    room.put("a", lane=KEYS.queue)
    (job,) = (await room.claim()).jobs
    await room.finish(job.lease, "reroute", to=KEYS.lane("other"))
    assert room.raw.zscore(KEYS.queue, "a") == ELSEWHERE_MS
    (moved,) = (await room.claim()).jobs
    await room.finish(moved.lease, "back")
    (moved,) = (await room.claim()).jobs
    assert room.raw.zscore(KEYS.queue, "a") == ELSEWHERE_MS
    await room.finish(moved.lease)
    assert not room.raw.exists(KEYS.queue, KEYS.lanes)


async def test_a_job_that_moves_without_a_payload_keeps_its_own(room: LimitsRoom) -> None:
    room.calls(1, LANE)
    (job,) = (await room.claim()).jobs
    await room.finish(job.lease, "reroute", to=KEYS.lane("other"))
    (moved,) = (await room.claim()).jobs
    assert (moved.lease.lane, moved.payload) == (KEYS.lane("other"), payload("0"))


async def test_a_job_that_moves_within_its_lane_stays_there(room: LimitsRoom) -> None:
    room.calls(1, LANE)
    (job,) = (await room.claim()).jobs
    await room.finish(job.lease, "reroute", to=job.lease.lane)
    assert ids(await room.claim()) == ["0"]


async def test_a_job_that_has_failed_begins_its_tries_anew_where_it_moves_to(room: LimitsRoom) -> None:
    room.calls(1, LANE)
    (job,) = (await room.claim()).jobs
    await room.finish(job.lease, "retry", ttl_ms=60_000)
    (job,) = (await room.claim()).jobs
    room.raw.rpush(KEYS.attempts("0"), b"{}")
    room.raw.pexpire(KEYS.attempts("0"), 60_000)
    await room.finish(job.lease, "reroute", to=KEYS.lane("other"))
    (moved,) = (await room.claim()).jobs
    assert (moved.has_run, moved.tries_used) == (True, 0)
