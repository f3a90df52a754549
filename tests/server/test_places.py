"""A job's place in its lane outlives leases, retries and hand-backs: scripts against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest

from client import JobStatus, Queue
from client.wire.token import place_of
from tests.conftest import KEYS, Server, wait_until
from tests.server.given_outcomes import record
from tests.server.limits_room import MODEL, LimitsRoom, limited
from tests.server.test_engine_room import LEASE_MS, OTHER_LANE, Room, ids, return_of
from worker.engine.scripts import Claimed, Lease, Verb

TTL_MS = 60_000
LANES = [KEYS.queue, KEYS.lane("a"), KEYS.lane("b")]
VERBS: list[Verb] = ["done", "dead", "retry", "retry", "again", "throttled", "back", "reroute"]


@pytest.fixture
async def limits(server: Server) -> AsyncIterator[LimitsRoom]:
    async with limited(server) as room:
        yield room


# -- the place is kept -----------------------------------------------------------------------------


async def test_a_job_whose_worker_died_runs_before_all_that_wait_behind_it(room: Room) -> None:
    room.put("high", in_ms=-600_000)
    room.put(*map(str, range(40)))
    job = await room.claim_one()
    room.lapse(job.lease)
    again = await room.claim_one(worker="w2")
    assert (again.lease.job_id, place_of(again.lease.token), again.crashes) == (
        "high",
        place_of(job.lease.token),
        1,
    )


async def test_a_place_is_kept_over_any_number_of_crashes_and_tries(room: Room) -> None:
    room.put("a", "b", lane=OTHER_LANE)
    for verb in ("retry", None, "again", None, "retry", "back", "throttled"):
        job = await room.claim_one()
        assert job.lease.job_id == "a"
        if verb:
            assert await room.finish(job.lease, verb, ttl_ms=TTL_MS, delay_ms=5_000)
        if verb not in ("back", "throttled"):
            room.lapse(job.lease)


@pytest.mark.parametrize("verb", ["retry", "again"])
async def test_what_waits_for_another_try_is_not_due_before_and_then_first(room: Room, verb: str) -> None:
    room.put("a", "b", "c")
    job = await room.claim_one()
    await room.finish(job.lease, verb, ttl_ms=TTL_MS, delay_ms=5_000)
    other = await room.claim_one()
    assert other.lease.job_id == "b"
    room.lapse(job.lease)
    assert ids(await room.claim()) == ["a", "c"]


async def test_a_lane_that_is_parked_is_looked_at_when_a_lease_ends(limits: LimitsRoom) -> None:
    """Nothing else would wake it before its slots are free."""
    limits.limit(MODEL, concurrency=2)
    limits.calls(40)
    jobs = (await limits.claim(lease_ms=700)).jobs
    claim, lane = await limits.claim(), jobs[0].lease.lane
    assert (claim.jobs, claim.next_ms) == ([], limits.score(lane, "0"))
    past_ms = limits.now_ms() - 1
    limits.raw.zadd(KEYS.slots(MODEL), {job.lease.job_id: past_ms for job in jobs})
    limits.raw.zadd(lane, {job.lease.job_id: past_ms for job in jobs})
    limits.raw.zadd(KEYS.returns, {f"{past_ms} {lane}": past_ms})
    assert ids(await limits.claim(worker="w2")) == ["0", "1"]


async def test_a_whole_fleets_jobs_go_back_in_one_claim(room: Room) -> None:
    room.put(*map(str, range(1_600)))
    jobs: list[Claimed] = []
    while claim := (await room.claim(500)).jobs:
        jobs += claim
    room.put("late")
    pipe = room.raw.pipeline()
    past_ms = room.now_ms() - 1
    pipe.zadd(KEYS.queue, {job.lease.job_id: past_ms for job in jobs})
    pipe.zadd(KEYS.returns, {f"{past_ms} {KEYS.queue}": past_ms})
    pipe.execute()
    assert ids(await room.claim(500, worker="w2")) == [str(n) for n in range(500)]


async def test_a_late_worker_that_renews_takes_its_job_out_of_its_place_again(limits: LimitsRoom) -> None:
    limits.limit(MODEL, concurrency=1)
    limits.calls(1)
    (job,) = (await limits.claim()).jobs
    limits.limit(MODEL, paused=True)
    limits.lapse(job.lease)
    assert (await limits.claim()).jobs == []
    assert limits.raw.zscore(job.lease.lane, "0") == float(place_of(job.lease.token))
    assert await limits.renew(job) == [1]
    limits.limit(MODEL)
    assert (await limits.claim()).jobs == []
    limits.lapse(job.lease)
    (again,) = (await limits.claim()).jobs
    assert place_of(again.lease.token) == place_of(job.lease.token)


# -- a lane stays arq's, and workers of two versions share it ---------------------------------------


async def test_a_running_job_is_seen_as_such(room: Room, queue: Queue) -> None:
    room.put("a")
    job = await room.claim_one()
    assert await queue.job("a").status() == JobStatus.in_progress
    await room.finish(job.lease, "retry", ttl_ms=TTL_MS, delay_ms=5_000)
    assert await queue.job("a").status() == JobStatus.deferred


async def test_what_an_older_worker_has_claimed_again_is_left_to_it(room: Room) -> None:
    room.put("a", "b")
    job = await room.claim_one()
    room.lapse(job.lease)
    lease_end = room.now_ms() + LEASE_MS  # it writes a token and a score, and knows of no return
    room.raw.set(KEYS.in_progress("a"), "mill:1:old", px=TTL_MS)
    room.raw.zadd(KEYS.queue, {"a": lease_end})
    assert ids(await room.claim()) == ["b"]
    assert room.score(KEYS.queue, "a") == lease_end


async def test_a_job_of_an_older_worker_that_died_runs_again(room: Room) -> None:
    room.put("a")
    room.raw.set(KEYS.in_progress("a"), "mill:1:old", px=TTL_MS)
    again = await room.claim_one()
    assert (again.lease.job_id, again.crashes) == ("a", 1)


@pytest.mark.parametrize(
    "member",
    ["", "x", "nan arq:queue\na", "inf arq:queue\na", "1 nothing\na", "1 arq:job:a\na", "5 arq:job:a"],
)
async def test_a_return_that_means_nothing_goes_away(room: Room, member: str) -> None:
    room.put("a", in_ms=60_000)
    room.raw.zadd(KEYS.returns, {member: 5})
    assert (await room.claim()).jobs == []
    assert room.raw.exists(KEYS.returns) == 0


async def test_the_end_of_a_lease_that_nobody_needs_goes_away_by_itself(room: Room) -> None:
    room.put(*"abc", lane=OTHER_LANE)
    jobs = (await room.claim(lease_ms=30)).jobs
    room.tick()
    await room.scripts.renew([job.lease for job in jobs], 40)
    assert room.raw.zcard(KEYS.returns) == 2  # one for each claim and renewal, and not for each job
    for job in jobs:
        await room.finish(job.lease)

    async def is_gone() -> bool:
        assert (await room.claim()).jobs == []
        return not room.raw.exists(KEYS.returns)

    await wait_until(is_gone, description="no end of a lease is left")


async def test_an_abort_between_two_tries_leaves_nothing_behind(room: Room, queue: Queue) -> None:
    room.put("a", lane=KEYS.queue)
    job = await room.claim_one()
    room.lapse(job.lease)
    job = await room.claim_one()
    await room.finish(job.lease, "retry", ttl_ms=TTL_MS, delay_ms=5_000)
    room.raw.rpush(KEYS.attempts("a"), b"{}")
    room.raw.hset(KEYS.parts("a"), "0:name", b"numbers")
    assert await queue.job("a").abort()
    assert room.dump().keys() - {KEYS.lanes} == {KEYS.result("a")}
    await queue.forget(["a"])


async def test_a_new_job_inherits_nothing_of_one_that_an_older_client_has_aborted(
    room: Room, queue: Queue
) -> None:
    for key in (KEYS.retry("a"), KEYS.parts("a"), KEYS.attempts("a"), KEYS.crashes("a")):
        room.raw.set(key, 3, px=TTL_MS)
    await queue.chat("hi", job_id="a")
    (job,) = (await room.claim()).jobs
    assert (job.tries_used, job.has_run) == (0, False)
    assert room.raw.exists(KEYS.parts("a"), KEYS.attempts("a"), KEYS.crashes("a")) == 0
    await room.finish(job.lease, "done", record("a"), ttl_ms=TTL_MS)


# -- any history -----------------------------------------------------------------------------------


class History:
    """Jobs come, start, end, wait, lose their workers, in lanes that are served one job a claim."""

    def __init__(self, room: Room, dice: Random) -> None:
        self.room, self.dice, self.count = room, dice, 0
        self.lanes: dict[str, list[tuple[float, str]]] = {lane: [] for lane in LANES}  # due, by their places
        self.running: dict[str, Lease] = {}
        self.waiting: dict[str, Lease] = {}
        self.place: dict[str, float] = {}

    async def come(self) -> None:
        lane = self.dice.choice(LANES)
        for _ in range(self.dice.randint(1, 4)):
            self.count += 1
            name = f"{self.dice.getrandbits(32):08x}-{self.count}"
            self.room.put(name, lane=lane, in_ms=-self.dice.choice([0, 0, 60_000, 600_000]))
            self.place[name] = self.room.raw.zscore(lane, name)
            self.lanes[lane].append((self.place[name], name))

    async def start(self) -> None:
        for job in (await self.room.claim(1)).jobs:
            name, due = job.lease.job_id, self.lanes[job.lease.lane]
            assert self.place[name] == float(place_of(job.lease.token))
            assert (self.place[name], name) == min(due), "it has overtaken"
            due.remove((self.place[name], name))
            self.running[name] = job.lease

    async def end(self) -> None:
        if not self.running:
            return
        name = self.dice.choice(sorted(self.running))
        lease, verb = self.running.pop(name), self.dice.choice(VERBS)
        delay_ms, to = self.dice.choice([0, 60_000]), self.dice.choice(LANES)
        more = {"to": to} if verb == "reroute" else {}
        text = b"" if verb == "reroute" else b"x"
        assert await self.room.finish(lease, verb, text, ttl_ms=TTL_MS, delay_ms=delay_ms, **more)
        if verb in ("retry", "again") and delay_ms:
            self.waiting[name] = lease
        elif verb not in ("done", "dead"):
            self.lanes[more.get("to", lease.lane)].append((self.place[name], name))

    async def lapse(self) -> None:
        group = self.dice.choice([self.running, self.waiting])
        if group:
            name = self.dice.choice(sorted(group))
            lease = group.pop(name)
            self.room.lapse(lease)
            self.lanes[lease.lane].append((self.place[name], name))

    async def renew(self) -> None:
        leases = list(self.running.values())
        if leases:
            assert await self.room.scripts.renew(leases, LEASE_MS) == [1] * len(leases)

    def check(self) -> None:
        held = {return_of(lease) for lease in self.waiting.values()}
        returns = {one.decode(): ms for one, ms in self.room.raw.zrange(KEYS.returns, 0, -1, withscores=True)}
        assert {one for one, ms in returns.items() if "\n" in one and ms > self.room.now_ms()} == held
        for lease in self.running.values():
            assert f"{self.room.score(lease.lane, lease.job_id)} {lease.lane}" in returns


@pytest.mark.parametrize("seed", range(10))
async def test_within_a_lane_jobs_start_by_their_places_whatever_happens(room: Room, seed: int) -> None:
    history = History(room, Random(seed))
    steps = [history.come, *[history.start] * 3, history.end, history.end, history.lapse, history.renew]
    for _ in range(150):
        await history.dice.choice(steps)()
        history.check()
    for _ in range(1_000):
        if not any(history.lanes.values()):
            break
        await history.start()
    assert not any(history.lanes.values()), "some are never claimed"
    for lease in history.running.values():
        await room.finish(lease)
    for lease in history.waiting.values():
        room.raw.zrem(lease.lane, lease.job_id)
    for key in (KEYS.returns, *LANES):
        room.raw.delete(key)
