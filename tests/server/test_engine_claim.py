"""claim.lua, against a real server: which jobs are taken, and what a lease says of them."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from tests.conftest import KEYS
from tests.server.test_engine_room import HOLD_MS, LEASE_MS, Room, ids, payload

# -- which jobs ------------------------------------------------------------------------------------


async def test_due_jobs_are_taken_oldest_first(room: Room) -> None:
    room.put("c", "a", "b")
    claim = await room.claim()
    assert ids(claim) == ["c", "a", "b"]
    assert [job.payload for job in claim.jobs] == [payload(job_id) for job_id in "cab"]


async def test_no_more_are_taken_than_wanted(room: Room) -> None:
    room.put("a", "b", "c")
    assert ids(await room.claim(2)) == ["a", "b"]
    assert ids(await room.claim(2)) == ["c"]


async def test_more_than_fit_into_one_call_are_taken_from_one_lane(room: Room) -> None:
    room.put(*map(str, range(1_200)))
    assert ids(await room.claim(1_100)) == [str(n) for n in range(1_100)]


async def test_a_deferred_job_is_not_taken(room: Room) -> None:
    room.put("later", in_ms=60_000)
    claim = await room.claim()
    assert claim.jobs == []
    assert claim.next_ms == room.score(KEYS.queue, "later")


async def test_a_second_claim_gets_nothing(room: Room) -> None:
    room.put("a")
    await room.claim(worker="w1")
    assert (await room.claim(worker="w2")).jobs == []


# -- leases ----------------------------------------------------------------------------------------


async def test_a_claimed_job_is_leased_by_the_servers_clock(room: Room) -> None:
    room.put("a")
    claim = await room.claim(lease_ms=7_000)
    (job,) = claim.jobs
    assert room.score(KEYS.queue, "a") == claim.now_ms + 7_000
    assert abs(claim.now_ms - room.now_ms()) < 1_000
    assert room.raw.get(KEYS.in_progress("a")) == job.lease.token.encode()
    assert HOLD_MS - 1_000 < room.raw.pttl(KEYS.in_progress("a")) <= HOLD_MS
    assert (job.lease.lane, job.crashes, job.tries_used, job.has_run) == (KEYS.queue, 0, 0, False)


async def test_the_token_names_the_worker_and_is_new_in_every_claim(room: Room) -> None:
    room.put("a", "b")
    first, second = await room.claim_one(), await room.claim_one()
    assert first.lease.token.startswith("mill:")
    assert first.lease.token.endswith(f":w1@{first.score_ms}")
    assert first.lease.token != second.lease.token


async def test_a_lapsed_lease_is_taken_again_under_a_new_token_and_counts_a_crash(room: Room) -> None:
    room.put("a")
    first = await room.claim_one(worker="w1")
    room.lapse(first.lease)
    second = await room.claim_one(worker="w2")
    assert second.lease.token != first.lease.token
    assert (second.crashes, second.tries_used) == (1, 0)
    (line,) = room.raw.lrange(KEYS.crashes("a"), 0, -1)
    moment, token = line.decode().split()
    assert abs(int(moment) - room.now_ms()) < 1_000
    assert token == first.lease.token
    assert 86_000 < room.raw.ttl(KEYS.crashes("a")) <= 86_400


async def test_crashes_add_up(room: Room) -> None:
    room.put("a")
    counts = []
    for _ in range(4):
        job = await room.claim_one()
        counts.append(job.crashes)
        room.lapse(job.lease)
    assert counts == [0, 1, 2, 3]


async def test_a_job_handed_back_has_not_crashed_and_keeps_its_place(room: Room) -> None:
    room.put("a", "b")
    job = await room.claim_one()
    await room.finish(job.lease, "back")
    again = await room.claim_one()
    assert (again.lease.job_id, again.score_ms) == ("a", job.score_ms)
    assert (again.crashes, again.tries_used, again.has_run) == (0, 0, False)


@pytest.mark.parametrize(("verb", "used"), [("retry", 1), ("again", 0)])
async def test_a_job_to_be_run_again_has_not_crashed_and_has_run(room: Room, verb: str, used: int) -> None:
    room.put("a")
    job = await room.claim_one()
    await room.finish(job.lease, verb, ttl_ms=60_000)
    again = await room.claim_one()
    assert (again.crashes, again.tries_used, again.has_run) == (0, used, True)


# -- jobs that are not to be run -------------------------------------------------------------------


async def test_a_job_whose_deadline_has_passed_comes_without_its_payload(room: Room) -> None:
    room.put("a")
    room.raw.delete(KEYS.job("a"))
    job = await room.claim_one()
    assert job.payload is None


async def test_a_job_that_ended_elsewhere_is_dropped(room: Room) -> None:
    room.put("a", "b")
    room.raw.delete(KEYS.job("a"))
    room.raw.set(KEYS.result("a"), b"{}", px=60_000)
    assert ids(await room.claim()) == ["b"]
    assert room.score(KEYS.queue, "a") is None


@pytest.mark.parametrize("enqueued_again", [False, True], ids=["its job is gone", "enqueued once more"])
async def test_a_cron_job_that_has_run_is_dropped(room: Room, enqueued_again: bool) -> None:
    room.put("cron:1")
    job = await room.claim_one()
    await room.finish(job.lease, "done", keep_ms=60_000)
    room.put("cron:1")
    if not enqueued_again:
        room.raw.delete(KEYS.job("cron:1"))
    assert (await room.claim()).jobs == []
    assert room.dump() == {KEYS.in_progress("cron:1"): b"ended"}


async def test_a_job_of_a_stock_worker_is_left_alone(room: Room) -> None:
    room.put("a")
    room.raw.set(KEYS.in_progress("a"), b"1", px=60_000)
    score = room.score(KEYS.queue, "a")
    claim = await room.claim()
    assert (claim.jobs, claim.more) == ([], False)
    assert room.score(KEYS.queue, "a") == score
    assert room.raw.get(KEYS.in_progress("a")) == b"1"


@pytest.mark.parametrize("want", [1, 100])
async def test_a_thousand_jobs_of_a_stock_worker_do_not_block_the_one_behind_them(
    room: Room, want: int
) -> None:
    foreign = [f"foreign{n}" for n in range(999)]
    room.put(*foreign, "ours")
    for job_id in foreign:
        room.raw.set(KEYS.in_progress(job_id), b"1", px=60_000)
    before = room.commands()
    assert ids(await room.claim(want)) == ["ours"]
    assert room.commands() - before < 100
    claim = await room.claim(want)
    assert (claim.jobs, claim.more) == ([], False)


# -- aborts ----------------------------------------------------------------------------------------


async def test_an_abort_is_reported_with_its_job_only(room: Room) -> None:
    room.put("a", "b")
    asked_ms = room.now_ms()
    room.raw.zadd(KEYS.aborts, {"b": asked_ms, "elsewhere": asked_ms})
    claim = await room.claim()
    assert sorted(claim.aborts) == ["b", "elsewhere"]
    assert [job.abort_ms for job in claim.jobs] == [0, asked_ms]


async def test_old_aborts_of_unknown_jobs_do_not_hide_a_new_one(room: Room) -> None:
    room.put("a")
    now_ms = room.now_ms()
    room.raw.zadd(KEYS.aborts, {f"unknown{n}": now_ms - 1_000 for n in range(200)})
    room.raw.zadd(KEYS.aborts, {f"ancient{n}": now_ms - 86_401_000 for n in range(200)})
    room.raw.zadd(KEYS.aborts, {"a": now_ms})
    claim = await room.claim()
    assert claim.aborts[0] == "a"
    assert claim.jobs[0].abort_ms == now_ms
    assert room.raw.zcard(KEYS.aborts) == 201


async def test_a_plain_clients_abort_does_not_take_a_running_job_from_its_worker(room: Room) -> None:
    room.put("a")
    job = await room.claim_one(worker="w1")
    room.raw.zadd(KEYS.queue, {"a": 1})  # arq.jobs.Job.abort, where the score is in the future
    room.raw.zadd(KEYS.aborts, {"a": room.now_ms()})
    claim = await room.claim(worker="w2")
    assert (claim.jobs, claim.aborts) == ([], ["a"])
    assert room.score(KEYS.queue, "a") == claim.now_ms + LEASE_MS
    assert room.raw.exists(KEYS.crashes("a")) == 0
    assert await room.finish(job.lease)


# -- wrong arguments -------------------------------------------------------------------------------


async def test_wrong_arguments_are_refused_and_nothing_is_written(room: Room) -> None:
    room.put("a")
    before = room.dump()
    for wrong in ({"want": "x"}, {"lease_ms": 0}, {"lease_ms": -1}, {"hold_ms": 0}):
        right = {"want": 1, "lease_ms": LEASE_MS, "hold_ms": HOLD_MS}
        with pytest.raises(ResponseError, match="claim: nine arguments"):
            await room.scripts.claim(KEYS.queue, "w1", **(right | wrong))
    with pytest.raises(ResponseError, match="claim: nine arguments"):
        await room.scripts._claim(args=[KEYS.queue, 1, 1, 1, "w1"])
    assert room.dump() == before


# -- a worker that stood still ----------------------------------------------------------------------


async def test_a_worker_finds_its_own_lapsed_job_and_nobody_has_died(room: Room) -> None:
    room.put("a", "b")
    job = await room.claim_one()
    room.lapse(job.lease)
    room.deaths = 0  # it only slept
    claim = await room.claim()
    assert (ids(claim), claim.mine) == (["b"], [job.lease])
    assert room.score(KEYS.queue, "a") == claim.now_ms + LEASE_MS
    assert not room.raw.exists(KEYS.crashes("a"))
    assert await room.finish(job.lease)


async def test_a_job_that_somebody_else_has_begun_is_not_the_sleepers_any_more(room: Room) -> None:
    room.put("a")
    job = await room.claim_one()
    room.lapse(job.lease)
    other = await room.claim_one()
    room.deaths = 0
    assert (await room.claim()).mine == []
    assert (await room.finish(job.lease), await room.finish(other.lease)) == (False, True)
