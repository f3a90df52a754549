"""The jobs of a conversation start in the order in which they were enqueued, over all lanes, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from client import Queue, decode, encode
from client.terms import Priority
from tests.conftest import KEYS, Server
from tests.server.limits_room import LimitsRoom, limited
from tests.server.test_engine_room import LEASE_MS, ids, payload
from worker.engine.scripts import Claimed, Lease, Verb

TTL_MS = 60_000
TALK = "conversation:1"
TURNS = KEYS.turns(TALK)
A, B = (KEYS.lane(f"p/{model}|{TALK}") for model in "ab")
VERBS: list[Verb] = ["done", "done", "dead", "retry", "again", "throttled", "back", "reroute"]


@pytest.fixture
async def room(server: Server) -> AsyncIterator[LimitsRoom]:
    async with limited(server) as room:
        yield room


async def talk(queue: Queue, models: str, **terms: Any) -> list[str]:
    """A turn for each model, named by its number."""
    names = [str(n) for n in range(len(models))]
    requests = [{"prompt": "hi", "model": f"p/{model}"} for model in models]
    await queue.chat_many(requests, job_ids=names, conversation="1", **terms)
    return names


async def one(room: LimitsRoom) -> Claimed:
    """What a worker starts now: claims go on while there is more."""
    while not (claim := await room.claim()).jobs:
        assert claim.more, "nothing starts"
    (job,) = claim.jobs
    return job


async def told(room: LimitsRoom) -> list[str]:
    """All that start now."""
    claim = await room.claim()
    return ids(claim) + (await told(room) if claim.more else [])


# -- the order -------------------------------------------------------------------------------------


@pytest.mark.parametrize("models", ["aaaa", "abab", "aabbab", "bcacbbca"])
async def test_turns_start_in_their_order_over_all_models(
    room: LimitsRoom, queue: Queue, models: str
) -> None:
    names, order = await talk(queue, models), []
    for _ in names:
        job = await one(room)
        order.append(job.lease.job_id)
        assert await told(room) == []
        await room.finish(job.lease)
    assert order == names
    assert room.raw.exists(TURNS) == 0


async def test_a_priority_does_not_let_a_turn_overtake(room: LimitsRoom, queue: Queue) -> None:
    for name, priority in (("0", "low"), ("1", "high"), ("2", "normal")):
        await queue.chat("hi", job_id=name, conversation="1", priority=priority)  # type: ignore[arg-type]
    for name in "012":
        job = await one(room)
        assert job.lease.job_id == name
        await room.finish(job.lease)


@pytest.mark.parametrize("models", ["aaa", "aba"])
async def test_what_waits_for_another_try_holds_its_conversation(
    room: LimitsRoom, queue: Queue, models: str
) -> None:
    await talk(queue, models)
    for _ in range(3):
        job = await one(room)
        assert job.lease.job_id == "0"
        await room.finish(job.lease, "retry", ttl_ms=TTL_MS, delay_ms=5_000)
        assert await told(room) == []
        room.lapse(job.lease)
    job = await one(room)
    await room.finish(job.lease)
    assert (await one(room)).lease.job_id == "1"


@pytest.mark.parametrize("models", ["aaa", "aba"])
async def test_a_turn_whose_worker_died_goes_first(room: LimitsRoom, queue: Queue, models: str) -> None:
    await talk(queue, models)
    first = await one(room)
    lapse(room, first.lease)
    again = await one(room)
    assert (again.lease.job_id, again.crashes) == ("0", 1)
    await room.finish(again.lease)
    assert (await one(room)).lease.job_id == "1"


async def test_a_late_worker_that_renews_has_its_turn_again(room: LimitsRoom, queue: Queue) -> None:
    await talk(queue, "ab")
    first = await one(room)
    room.limit("p/a", paused=True)
    lapse(room, first.lease)
    assert await told(room) == []
    assert room.raw.zcard(TURNS) == 2
    assert await room.renew(first) == [1]
    assert room.raw.zcard(TURNS) == 1


@pytest.mark.parametrize("models", ["aaa", "aba"])
async def test_the_deadline_of_what_waits_lets_the_next_turn_go(
    room: LimitsRoom, queue: Queue, models: str
) -> None:
    await talk(queue, models)
    job = await one(room)
    await room.finish(job.lease, "retry", ttl_ms=TTL_MS, delay_ms=50_000)
    assert await told(room) == []
    room.raw.delete(KEYS.job("0"))
    for lane in (A, B):  # looked at within seconds
        assert (room.score(KEYS.lanes, lane) or 0) <= room.now_ms() + 50_000
        room.raw.zadd(KEYS.lanes, {lane: room.now_ms()}, xx=True)
    assert await told(room) == ["1"]


@pytest.mark.parametrize("models", ["aaa", "aba"])
async def test_an_abort_lets_the_next_turn_go_at_once(room: LimitsRoom, queue: Queue, models: str) -> None:
    await talk(queue, models)
    job = await one(room)
    await room.finish(job.lease, "retry", ttl_ms=TTL_MS, delay_ms=50_000)
    assert await told(room) == []
    assert await queue.job("0").abort()
    assert await told(room) == ["1"]


async def test_a_turn_that_moves_to_another_model_stays_first(room: LimitsRoom, queue: Queue) -> None:
    await talk(queue, "aab")
    job = await one(room)
    await room.finish(job.lease, "reroute", payload("0"), to=B)
    moved = await one(room)
    assert (moved.lease.job_id, moved.lease.lane) == ("0", B)


async def test_a_deferred_turn_comes_in_when_it_is_due(room: LimitsRoom, queue: Queue) -> None:
    await queue.chat("hi", model="p/a", job_id="late", conversation="1", defer_s=60)
    await talk(queue, "ab")
    for name in "01":
        job = await one(room)
        assert job.lease.job_id == name
        await room.finish(job.lease)
    assert await told(room) == []


async def test_with_room_for_more_turns_they_still_start_in_order(room: LimitsRoom, queue: Queue) -> None:
    room.limit(TALK, concurrency=3)
    await talk(queue, "abbaab")
    assert await told(room) == ["0", "1", "2"]


async def test_a_dead_letter_that_is_revived_is_a_new_turn(room: LimitsRoom, queue: Queue) -> None:
    await talk(queue, "ab")
    job = await one(room)
    await room.finish(job.lease, "dead", b"{}", ttl_ms=TTL_MS)
    assert await queue.dead.retry(["0"]) == ["0"]
    for name in "10":
        job = await one(room)
        assert job.lease.job_id == name
        await room.finish(job.lease)


async def test_other_conversations_are_not_held(room: LimitsRoom, queue: Queue) -> None:
    await talk(queue, "ab")
    job = await one(room)
    await room.finish(job.lease, "retry", ttl_ms=TTL_MS, delay_ms=5_000)
    await queue.chat("hi", model="p/a", job_id="other", conversation="2")
    await queue.chat("hi", model="p/a", job_id="none")
    assert sorted(await told(room)) == ["none", "other"]


async def test_a_job_says_how_many_turns_are_ahead(room: LimitsRoom, queue: Queue) -> None:
    await talk(queue, "abb")
    job = await one(room)
    await room.finish(job.lease, "retry", ttl_ms=TTL_MS, delay_ms=5_000)
    await told(room)
    room.raw.set(KEYS.health(KEYS.queue), "x", px=TTL_MS)
    waiting = (await queue.job("2").info()).waiting
    assert waiting is not None
    assert (waiting.reason, waiting.position) == ("its turn", 2)


# -- clients and workers of the version before ------------------------------------------------------


async def test_jobs_that_an_older_client_has_enqueued_are_served(room: LimitsRoom, queue: Queue) -> None:
    room.calls(2, f"p/a|{TALK}", "old")
    await talk(queue, "ba")
    room.calls(1, f"p/b|{TALK}", "newer")
    room.raw.zadd(B, {"newer0": room.now_ms() + 1})
    room.tick()
    seen = []
    for _ in range(5):
        room.raw.zadd(KEYS.lanes, {A: room.now_ms(), B: room.now_ms()}, xx=True)  # looked at within seconds
        job = await one(room)
        seen.append(job.lease.job_id)
        await room.finish(job.lease)
    assert seen == ["old0", "old1", "0", "1", "newer0"]


@pytest.mark.parametrize("how", ["ended", "aborted", "moved", "runs"])
async def test_what_an_older_worker_or_client_did_to_the_first_turn_holds_nobody(
    room: LimitsRoom, queue: Queue, how: str
) -> None:
    room.limit(TALK, concurrency=2)
    await talk(queue, "ab")
    if how in ("ended", "aborted"):
        room.raw.delete(KEYS.job("0"))
    if how == "runs":
        room.raw.set(KEYS.in_progress("0"), "mill:1:old", px=TTL_MS)
        room.raw.zadd(A, {"0": room.now_ms() + LEASE_MS})
    else:
        room.raw.zrem(A, "0")
    assert await told(room) == ["1"]


async def test_who_finds_the_first_turn_gone_passes_the_turn_on(room: LimitsRoom, queue: Queue) -> None:
    await talk(queue, "abc")
    room.raw.zrem(A, "0")
    room.raw.zadd(KEYS.lanes, {B: room.now_ms() + 60_000})
    assert await told(room) == ["1"]


async def test_a_turn_that_means_nothing_goes_away(room: LimitsRoom, queue: Queue) -> None:
    await talk(queue, "ab")
    room.raw.zadd(TURNS, {"": 1, "x": 1, "\n": 2, f"{A}\nnobody": 3, f"{KEYS.job('0')}\n1": 4})
    assert (await one(room)).lease.job_id == "0"


# -- any history -----------------------------------------------------------------------------------


def lapse(room: LimitsRoom, lease: Lease) -> None:
    """The lease and its slots end."""
    room.lapse(lease)
    for key in ("p", "p/a", "p/b", "p/c", *TALKS):
        if room.raw.zadd(KEYS.slots(key), {lease.job_id: room.now_ms() - 1}, xx=True, ch=True):
            room.raw.zadd(KEYS.gates, {key: room.now_ms() - 1}, xx=True)  # who looks at it when a lease ends


TALKS = ("conversation:1", "conversation:2")


class History:
    """Turns of two conversations over three models, of which each has room for two calls."""

    def __init__(self, room: LimitsRoom, queue: Queue, dice: Random) -> None:
        self.room, self.queue, self.dice, self.count = room, queue, dice, 0
        self.talks: dict[str, list[str]] = {talk: [] for talk in TALKS}  # not ended, in their order
        self.running: dict[str, Lease] = {}
        self.waiting: dict[str, Lease] = {}

    def talk_of(self, lane: str) -> str:
        return next(talk for talk in TALKS if talk in lane)

    async def come(self) -> None:
        talk = self.dice.choice(TALKS)
        names = [f"{self.dice.getrandbits(32):08x}-{self.count + n}" for n in range(self.dice.randint(1, 4))]
        self.count += len(names)
        requests = [{"prompt": "hi", "model": f"p/{self.dice.choice('abc')}"} for _ in names]
        priority: Priority = self.dice.choice(["low", "normal", "high"])
        await self.queue.chat_many(
            requests, job_ids=names, conversation=talk.partition(":")[2], priority=priority
        )
        self.talks[talk] += names

    async def start(self) -> None:
        claim = await self.room.claim(self.dice.randint(1, 4))
        for job in claim.jobs:
            name, talk = job.lease.job_id, self.talks[self.talk_of(job.lease.lane)]
            assert not self.running.keys() & set(talk), "two at once"
            assert talk[0] == name, f"{name} has overtaken {talk[0]}"
            self.waiting.pop(name, None)
            self.running[name] = job.lease

    async def end(self) -> None:
        if self.running:
            name = self.dice.choice(sorted(self.running))
            lease, verb = self.running.pop(name), self.dice.choice(VERBS)
            delay_ms, text, more = self.dice.choice([0, 60_000]), b"{}", dict[str, str]()
            if verb == "reroute":
                more["to"] = KEYS.lane(f"p/{self.dice.choice('abc')}|{self.talk_of(lease.lane)}")
                text = encode(decode(self.room.raw.get(KEYS.job(name))) | {"q": more["to"]})
            assert await self.room.finish(lease, verb, text, ttl_ms=TTL_MS, delay_ms=delay_ms, **more)
            if verb in ("retry", "again") and delay_ms:
                self.waiting[name] = lease
            if verb in ("done", "dead"):
                self.talks[self.talk_of(lease.lane)].remove(name)

    async def lapse(self) -> None:
        group = self.dice.choice([self.running, self.waiting])
        if group:
            lease = group.pop(self.dice.choice(sorted(group)))
            lapse(self.room, lease)

    async def abort(self) -> None:
        names = [name for talk in self.talks.values() for name in talk if name not in self.running]
        if names:
            name = self.dice.choice(names)
            if self.room.raw.exists(KEYS.in_progress(name)):  # a lapsed lease: its worker is asked
                return
            assert await self.queue.job(name).abort()
            self.waiting.pop(name, None)
            for talk in self.talks.values():
                if name in talk:
                    talk.remove(name)

    async def renew(self) -> None:
        if leases := list(self.running.values()):
            assert await self.room.scripts.renew(leases, LEASE_MS) == [1] * len(leases)

    async def ready(self) -> None:
        """Everything that can start does so without waiting for a look that comes in seconds."""
        for _ in range(8):
            await self.start()
        busy = self.running.keys() | self.waiting.keys()
        for talk in self.talks.values():
            assert not talk or busy & set(talk), f"nothing of {talk} starts"


@pytest.mark.parametrize("seed", range(10))
async def test_in_any_history_turns_start_in_their_order_and_never_stop(
    room: LimitsRoom, queue: Queue, seed: int
) -> None:
    for model in "abc":
        room.limit(f"p/{model}", concurrency=2)
    history = History(room, queue, Random(seed))
    steps = [history.come, history.start, history.start, history.end, history.end, history.lapse]
    steps += [history.renew, history.abort, history.ready]
    for _ in range(150):
        await history.dice.choice(steps)()
    for _ in range(1_000):
        if not any(history.talks.values()):
            break
        await history.ready()
        for lease in [*history.running.values()]:
            del history.running[lease.job_id]
            assert await room.finish(lease, "done", b"{}", ttl_ms=TTL_MS)
            history.talks[history.talk_of(lease.lane)].remove(lease.job_id)
        for lease in [*history.waiting.values()]:
            del history.waiting[lease.job_id]
            lapse(room, lease)
    assert not any(history.talks.values()), "some never start"
    assert not room.raw.exists(*map(KEYS.turns, TALKS))
