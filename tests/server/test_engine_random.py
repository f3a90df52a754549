"""Two workers claim, renew, finish and die in any order; what must always hold, always holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest

from client.wire.keys import ELSEWHERE_MS
from tests.conftest import KEYS
from tests.server.test_engine_room import LEASE_MS, Room, payload
from worker.engine.scripts import Claim, Lease, Verb

STEPS = 120
NAMES = [f"job{n}" for n in range(12)]
WORKERS = ("w1", "w2")
ALL_LANES = [KEYS.queue, KEYS.lane("a"), KEYS.lane("b")]
FINAL: tuple[Verb, ...] = ("done", "dead")
AGAIN: tuple[Verb, ...] = ("retry", "throttled", "again", "back", "reroute")
WITHOUT_TTL = {KEYS.lanes, KEYS.returns, *ALL_LANES}


@dataclass
class Model:
    """What Redis should hold."""

    room: Room
    dice: Random
    lane_of: dict[str, str] = field(default_factory=dict)  # jobs that have not ended
    holder: dict[str, Lease] = field(default_factory=dict)
    lapsed: set[str] = field(default_factory=set)
    crashes: dict[str, int] = field(default_factory=dict)
    given: list[Lease] = field(default_factory=list)  # every lease there ever was
    ended: set[str] = field(default_factory=set)

    async def enqueue(self) -> None:
        name, lane = self.dice.choice(NAMES), self.dice.choice(ALL_LANES)
        if name not in self.lane_of and name not in self.ended:
            self.room.put(name, lane=lane, in_ms=self.dice.choice([-5_000, 0, 0, 60_000]))
            self.lane_of[name] = lane

    async def claim(self) -> None:
        self.note(await self.room.claim(self.dice.randint(1, 5), worker=self.dice.choice(WORKERS)))

    def note(self, claim: Claim) -> None:
        for job in claim.jobs:
            name = job.lease.job_id
            assert name not in self.holder or name in self.lapsed, "held by two"
            assert job.lease.lane == self.lane_of[name]
            assert job.lease not in self.given
            if name in self.lapsed:
                self.crashes[name] = self.crashes.get(name, 0) + 1
                assert job.crashes == self.crashes[name]
            else:
                assert job.crashes == 0
            self.lapsed.discard(name)
            self.holder[name] = job.lease
            self.given.append(job.lease)

    async def crash(self) -> None:
        if self.holder:
            self.lapse(self.dice.choice(sorted(self.holder)))

    def lapse(self, name: str) -> None:
        self.lapsed.add(name)
        self.room.lapse(self.holder[name])

    async def renew(self) -> None:
        leases = self.dice.sample(self.given, min(5, len(self.given)))
        if leases:
            replies = await self.room.scripts.renew(leases, LEASE_MS)
            assert replies == [self._renewal(lease) for lease in leases]
            self.lapsed -= {lease.job_id for lease in leases if self.is_held(lease)}

    def _renewal(self, lease: Lease) -> int:
        if self.is_held(lease):
            return 1
        return 0 if lease.job_id in self.holder else -1

    def is_held(self, lease: Lease) -> bool:
        return self.holder.get(lease.job_id) == lease

    async def finish(self) -> None:
        if self.given:
            latest = list(self.holder.values()) or self.given
            lease = self.dice.choice(self.dice.choice([latest, self.given]))
            await self.end(lease, self.dice.choice(FINAL + AGAIN))

    async def end(self, lease: Lease, verb: Verb) -> None:
        name = lease.job_id
        delay_ms = self.dice.choice([0, 60_000])
        held, to = self.is_held(lease), self.dice.choice(ALL_LANES)
        accepted = await self.room.finish(
            lease,
            verb,
            payload(name) if verb == "reroute" else verb.encode(),
            ttl_ms=60_000,
            delay_ms=delay_ms,
            to=to if verb == "reroute" else "",
        )
        assert accepted == held
        if held:
            del self.holder[name]
            self.lapsed.discard(name)
            if verb == "reroute":
                self.lane_of[name] = to
            if verb in FINAL:
                del self.lane_of[name]
                self.crashes.pop(name, None)
                self.ended.add(name)

    async def forget(self) -> None:
        if self.ended:
            name = self.dice.choice(sorted(self.ended))
            self.ended.remove(name)
            self.room.raw.delete(KEYS.result(name))

    async def time_passes(self) -> None:
        """What was deferred is due."""
        for lane in ALL_LANES:
            for name in self.members(lane):
                if name not in self.holder:
                    self.room.raw.zadd(lane, {name: self.room.now_ms() - 1})
                    self.room.raw.zadd(KEYS.lanes, {lane: self.room.now_ms() - 1}, lt=True)

    def members(self, lane: str) -> list[str]:
        return [name.decode() for name in self.room.raw.zrangebyscore(lane, "-inf", f"({ELSEWHERE_MS}")]

    def check(self) -> None:
        raw = self.room.raw
        members = {lane: self.members(lane) for lane in ALL_LANES}
        moved = {name.decode() for name in raw.zrangebyscore(KEYS.queue, ELSEWHERE_MS, "+inf")}
        assert moved <= {name for name, lane in self.lane_of.items() if lane != KEYS.queue}
        assert {name: lane for lane, names in members.items() for name in names} == self.lane_of
        assert sum(map(len, members.values())) == len(self.lane_of), "in two lanes"
        assert {lane.decode() for lane in raw.zrange(KEYS.lanes, 0, -1)} >= set(self.lane_of.values())
        for name in NAMES:
            lease = self.holder.get(name)
            assert raw.get(KEYS.in_progress(name)) == (lease and lease.token.encode())
            assert raw.exists(KEYS.result(name)) == (name in self.ended)
            assert raw.exists(KEYS.job(name)) == (name in self.lane_of)
        assert {key.decode() for key in raw.scan_iter(count=1_000) if raw.ttl(key) == -1} <= WITHOUT_TTL


@pytest.mark.parametrize("seed", range(12))
async def test_jobs_are_held_by_one_worker_end_once_and_are_never_lost(room: Room, seed: int) -> None:
    model = Model(room, Random(seed))
    steps = [model.enqueue, model.claim, model.claim, model.finish, model.finish]
    steps += [model.crash, model.renew, model.forget, model.time_passes]
    for _ in range(STEPS):
        await model.dice.choice(steps)()
        model.check()

    for name in sorted(model.holder):
        model.lapse(name)
    await model.time_passes()
    while model.lane_of:
        claim = await room.claim(5)
        assert claim.jobs, f"{model.lane_of} are never claimed"
        model.note(claim)
        for job in claim.jobs:
            await model.end(job.lease, "done")
        model.check()
    assert room.raw.zcard(KEYS.lanes) == 0
