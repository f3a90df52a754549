"""What Redis should hold, and what may follow from each step: the model that the stateful test compares with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from client.limits.calls import CallScripts
from tests.conftest import KEYS
from tests.server.limits_room import MODELS, LimitsRoom
from worker.engine.scripts import Claim, Claimed, Outcome

T = TypeVar("T")

LEASE_MS = 10_000
CHANNEL = KEYS.calls_channel("model")
TENANTS = ("tenant:x", "tenant:y")
LANES = (
    "p/a",
    "p/a|tenant:x",
    "p/b|tenant:x",
    "p/b|tenant:y|conversation:1",
    "tenant:y",
    "@chat|tenant:x",
    "",
)
LIMIT_KEYS = ("p", "p/a", "p/b", *TENANTS, "conversation:1", "openai/gpt-4o")


@dataclass
class Holder:
    """A job or a call that was admitted and has not given its slots back, dead or alive."""

    keys: tuple[str, ...]
    end_ms: int  # of its slots
    job: Claimed | None = None
    evicted: set[str] = field(default_factory=set)

    def counts(self, key: str, at_ms: int) -> bool:
        return key in self.keys and key not in self.evicted and self.end_ms > at_ms


class Model:
    """One worker's hands at a time. All its moments are of the server's clock plus what the room has aged."""

    def __init__(self, room: LimitsRoom, runner: asyncio.Runner) -> None:
        self.room, self.runner = room, runner
        self.limits: dict[str, dict[str, Any]] = {}
        self.debts: dict[str, int] = {}  # the most tokens that a key may owe: a minute's
        self.waiting: dict[str, str] = {}  # job → lane; also jobs that run
        self.holders: dict[str, Holder] = {}
        self.given: list[Claimed] = []  # every lease there ever was
        self.calls: dict[str, tuple[str, str]] = {}  # call that waits → its ticket, when it asked
        self.tickets: dict[str, str] = {}
        self.count = 0
        calls = CallScripts(room.pool, KEYS)
        self.acquire, self.hold, self.release = calls._acquire, calls._hold, calls._release
        self.pubsub = room.raw.pubsub(ignore_subscribe_messages=True)
        self.pubsub.subscribe(CHANNEL)
        self.pubsub.get_message(timeout=1)

    def run(self, coroutine: Awaitable[T]) -> T:
        return self.runner.get_loop().run_until_complete(coroutine)

    def now_ms(self) -> int:
        return self.room.now_ms() + self.room.aged_ms

    def close(self) -> None:
        self.pubsub.close()

    # -- what is allowed ----------------------------------------------------------------------------

    def most(self, key: str, *, renewed: bool) -> float:
        """Who runs already goes on though the key is paused."""
        default = {"concurrency": 1} if key.startswith("conversation:") else {}
        limit = self.limits.get(key, default)
        return 0 if limit.get("paused") and not renewed else limit.get("concurrency", float("inf"))

    def admit(self, new: dict[str, Holder], at_ms: int, *, renewed: bool = False) -> None:
        """Checks that all of `new` could be admitted together at that moment."""
        for key in {key for holder in new.values() for key in holder.keys}:
            before = {name for name, h in self.holders.items() if h.counts(key, at_ms)}
            with_new = before | {name for name, h in new.items() if key in h.keys}
            assert len(with_new) <= self.most(key, renewed=renewed), (
                f"{key}: {with_new} under {self.limits.get(key)}"
            )
        self.holders |= new

    def granted(self, *, and_jobs: dict[str, Holder] | None = None, at_ms: int = 0) -> None:
        """Notes calls that were told they have their slots, and jobs of the same script."""
        new = dict(and_jobs or {})
        self.pubsub.ping()  # its reply follows all that was published
        while (message := self.pubsub.get_message(timeout=5)) is None or message["type"] != "pong":
            if message is None:
                continue
            name, _tokens, _usd, now_ms = message["data"].decode().split()
            self.calls.pop("!" + name)
            at_ms = int(now_ms) + self.room.aged_ms
            new["!" + name] = Holder(_keys_of(self.tickets["!" + name]), at_ms + LEASE_MS)
        self.admit(new, at_ms)

    # -- jobs ---------------------------------------------------------------------------------------

    def enqueue(self, lane: str, tokens: int) -> None:
        self.count += 1
        name = f"j{self.count}"
        if lane:
            self.room.call(name, lane, tokens=tokens)
        else:
            self.room.put(name)
        self.waiting[name] = KEYS.lane(lane) if lane else KEYS.queue

    def claim(self, worker: str, want: int) -> Claim:
        claim = self.run(self.room.claim(want, worker=worker, lease_ms=LEASE_MS, models=MODELS))
        at_ms = claim.now_ms + self.room.aged_ms
        new = {}
        for job in claim.jobs:
            name = job.lease.job_id
            assert self.waiting[name] == job.lease.lane
            assert name not in self.holders or self.holders[name].end_ms <= at_ms, "held by two"
            names = tuple(key.removeprefix("!") for key in job.lease.limit_keys.split("\n") if key)
            new[name] = Holder(names, at_ms + LEASE_MS, job)
        for lease in claim.mine:  # its slots go on, where nobody else has them
            holder = self.holders[lease.job_id]
            assert holder.job is not None, "taken for another's"
            ends = {self.room.raw.zscore(KEYS.slots(key), lease.job_id) for key in holder.keys}
            if ends == {claim.now_ms + LEASE_MS}:
                new[lease.job_id] = Holder(holder.keys, at_ms + LEASE_MS, holder.job)
        self.granted(and_jobs=new, at_ms=at_ms)
        self.given += claim.jobs
        return claim

    def finish(self, job: Claimed, verb: Any, use: str, delay_ms: int, to: str) -> None:
        name, holder = job.lease.job_id, self.holders.get(job.lease.job_id)
        mine = holder is not None and holder.job is job
        to = "" if verb != "reroute" else KEYS.lane(to) if to else KEYS.queue
        lease = self.room.now(job.lease)
        outcome = Outcome(lease, verb, ttl_ms=60_000, delay_ms=delay_ms, use=use, to=to)
        assert self.run(self.room.scripts.finish([outcome])) == [mine]
        if mine:
            del self.holders[name]
            if verb == "reroute":
                self.waiting[name] = to
            if verb in ("done", "dead"):
                del self.waiting[name]
        self.granted()

    def renew(self, jobs: list[Claimed]) -> None:
        if not jobs:
            return
        before_ms = self.now_ms()
        replies = self.run(self.room.scripts.renew([self.room.now(job.lease) for job in jobs], LEASE_MS))
        after_ms = self.now_ms()
        for job, reply in zip(jobs, replies, strict=True):
            name, holder = job.lease.job_id, self.holders.get(job.lease.job_id)
            mine = holder is not None and holder.job is job
            if not mine or holder is None:
                assert reply == (0 if holder else -1)
                continue
            if holder.evicted & set(holder.keys):
                assert reply == 2
            elif holder.end_ms > after_ms:
                assert reply == 1
            assert reply in (1, 2)
            if reply == 1 and holder.end_ms <= before_ms:  # it had lapsed
                self.admit({name: Holder(holder.keys, after_ms + LEASE_MS, job)}, after_ms, renewed=True)
            if reply == 1:
                self.holders[name].end_ms = self._end_of(name, job)

    def _end_of(self, name: str, job: Claimed) -> int:
        return (self.room.score(job.lease.lane, name) or 0) + self.room.aged_ms

    # -- calls --------------------------------------------------------------------------------------

    def call(self, names: tuple[str, ...], tokens: int) -> None:
        self.count += 1
        name = f"!c{self.count}"
        ticket = f"{name}|{LEASE_MS}|{CHANNEL}|{tokens}|-1|{'|'.join(names)}"
        self.tickets[name] = ticket
        self.calls[name] = (ticket, "")
        self.ask(name)

    def ask(self, name: str) -> None:
        ticket, since = self.calls[name]
        _, _, ((asked, waits_for, _, _, at_ms),) = self.run(self.acquire(args=["", ticket, since]))
        self.calls[name] = (ticket, asked.decode())
        self.granted()
        if waits_for == b"" and name in self.calls:
            del self.calls[name]
            at_ms += self.room.aged_ms
            self.admit({name: Holder(_keys_of(ticket), at_ms + LEASE_MS)}, at_ms)

    def prolong(self, name: str) -> None:
        holder, before_ms = self.holders[name], self.now_ms()
        (kept,) = self.run(self.hold(args=[self.tickets[name]]))
        assert kept or holder.evicted or holder.end_ms <= self.now_ms()
        if kept and holder.end_ms <= before_ms:
            self.admit({name: Holder(holder.keys, before_ms + LEASE_MS)}, self.now_ms(), renewed=True)
        if kept:
            ends = [self.room.score(KEYS.slots(key), name) or 0 for key in holder.keys]
            self.holders[name].end_ms = max(ends) + self.room.aged_ms

    def give_back(self, name: str, use: str) -> None:
        since_ms = self.room.now_ms()
        self.run(self.release(args=[self.tickets[name], since_ms, use]))
        self.calls.pop(name, None)
        self.holders.pop(name, None)
        self.granted()

    # -- limits -------------------------------------------------------------------------------------

    def limit(self, key: str, limit: dict[str, Any]) -> None:
        self.limits[key] = limit
        self.debts[key] = max(self.debts.get(key, 0), limit.get("tpm", 0))
        self.room.limit(key, **limit)

    def evict(self, key: str) -> None:
        for name, holder in self.holders.items():
            if key in holder.keys and holder.end_ms > self.now_ms() + 50:
                self.room.evict(key, name)
                holder.evicted.add(key)
                return

    # -- what always holds --------------------------------------------------------------------------

    def check(self) -> None:
        raw, now_ms = self.room.raw, self.room.now_ms()
        looks = {lane.decode(): score for lane, score in raw.zrange(KEYS.lanes, 0, -1, withscores=True)}
        parked = {n.decode() for key in LIMIT_KEYS for n in raw.zrange(KEYS.blocked(key), 0, -1)}
        assert {n for n in parked if n.startswith("!")} >= {ticket for ticket, _ in self.calls.values()}
        for lane in set(self.waiting.values()) - {KEYS.queue}:
            assert lane in looks, f"{lane} is lost"
            due = raw.zcount(lane, "-inf", now_ms)
            soon = looks[lane] <= now_ms + (5_000 if self.is_held(lane) else 20)
            assert not due or soon or lane in parked, f"{lane} sleeps"
        gates = {key.decode() for key in raw.zrange(KEYS.gates, 0, -1)}
        for key in LIMIT_KEYS:
            assert not raw.exists(KEYS.blocked(key)) or key in gates, f"nobody looks at {key}"
            for name, end_ms in raw.zrange(KEYS.slots(key), 0, -1, withscores=True):
                holder = self.holders.get(name.decode())
                assert holder is not None, f"{name!r} holds {key} for nobody"
                assert key in holder.keys
                expected_ms = 0 if key in holder.evicted else holder.end_ms - self.room.aged_ms
                assert end_ms == expected_ms, f"{name!r} holds {key} for too long"
            flow = self.room.flow(key)
            assert flow.get("tok", 0) >= -self.debts.get(key, 0)
            assert flow.get("req", 0) >= -1e-5

    def is_held(self, lane: str) -> bool:
        """Whether a job of its conversation that came before waits for another try."""
        key = next((key for key in LIMIT_KEYS if key.startswith("conversation:") and key in lane), "")
        for first in self.room.raw.zrange(KEYS.turns(key), 0, 0):
            first_lane, _, name = first.decode().partition("\n")
            return (self.room.score(first_lane, name) or 0) > self.room.now_ms()
        return False


def _keys_of(ticket: str) -> tuple[str, ...]:
    return tuple(ticket.split("|")[5:])
