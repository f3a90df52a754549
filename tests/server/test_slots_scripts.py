"""What acquire.lua, release.lua and hold.lua do, against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from redis.exceptions import ResponseError

from client.limits.calls import Acquired, CallScripts, Release, Standing, Ticket, heard
from tests.conftest import KEYS, Server
from tests.server.limits_room import MODEL, OK, REFUSED, LimitsRoom, limited, used
from tests.server.test_engine_room import LEASE_MS, ids

CHANNEL = KEYS.calls_channel("p")
PROVIDER = "openai"


@dataclass
class Desk:
    """A process with calls of its own, which listens on CHANNEL."""

    room: LimitsRoom
    scripts: CallScripts
    ears: Any
    numbers: count[int] = field(default_factory=lambda: count(1))

    def ticket(self, *names: str, tokens: int = 0, channel: str = CHANNEL) -> Ticket:
        return Ticket(f"!{next(self.numbers)}", channel, names or (MODEL,), tokens, LEASE_MS / 1000)

    async def ask(self, *tickets: Ticket, epoch: str = "") -> Acquired:
        return await self.scripts.acquire([(ticket, "") for ticket in tickets], epoch)

    async def ask_one(self, ticket: Ticket, since: str = "") -> Standing:
        [answer] = (await self.scripts.acquire([(ticket, since)])).calls
        return answer

    async def release(self, *tickets: Ticket, use: str = OK) -> list[bool]:
        return await self.scripts.release([Release(ticket, self.room.now_ms(), use) for ticket in tickets])

    def queue(self, key: str = MODEL) -> list[str]:
        return [who.decode().split("|")[0] for who in self.room.raw.zrange(KEYS.blocked(key), 0, -1)]

    def told(self) -> list[str]:
        """The ids of calls that were told of their slots since it was asked last."""
        self.room.raw.publish(CHANNEL, "that is all")
        told = iter(lambda: self.ears.get_message(timeout=1)["data"], b"that is all")
        return [heard(message)[0] for message in told]


@pytest.fixture
async def desk(server: Server) -> AsyncIterator[Desk]:
    async with limited(server) as room:
        room.limit(MODEL, concurrency=1)
        with room.raw.pubsub() as ears:
            ears.subscribe(CHANNEL)
            ears.get_message(timeout=1)
            yield Desk(room, CallScripts(room.pool, KEYS), ears)


async def test_a_call_takes_a_slot_of_each_key_or_of_none(desk: Desk) -> None:
    first, second = desk.ticket(MODEL, PROVIDER, "tenant:a"), desk.ticket("tenant:b", MODEL)
    one, two = (await desk.ask(first, second)).calls
    assert (one.waits_for, two.waits_for) == ("", MODEL)
    assert [desk.room.holders(key) for key in (*first.keys, "tenant:b")] == [{"!1"}, {"!1"}, {"!1"}, set()]
    assert desk.queue() == ["!2"]
    assert desk.told() == []  # the answer says it


async def test_a_release_gives_the_slot_to_who_came_first_and_tells_it(desk: Desk) -> None:
    first, *others = (desk.ticket() for _ in range(4))
    await desk.ask(first, *others)
    assert await desk.release(first) == [True]
    assert (desk.told(), desk.queue()) == (["!2"], ["!3", "!4"])
    assert desk.room.holders(MODEL) == {"!2"}


async def test_who_comes_later_does_not_overtake(desk: Desk) -> None:
    desk.room.limit(MODEL, concurrency=2, tpm=1000)
    desk.room.set_flow(MODEL, tok=10, tok_ms=desk.room.now_ms())
    large, small = (await desk.ask(desk.ticket(tokens=90), desk.ticket(tokens=1))).calls
    assert (large.waits_for, small.waits_for) == (MODEL, MODEL)
    assert desk.queue() == ["!1", "!2"]


async def test_asking_again_changes_nothing(desk: Desk) -> None:
    holding, waiting, third = desk.ticket(tokens=7), desk.ticket(), desk.ticket()
    desk.room.limit(MODEL, concurrency=1, tpd=100)
    held, waits, _ = (await desk.ask(holding, waiting, third)).calls
    assert await desk.ask_one(holding, held.since) == held
    assert (await desk.ask_one(waiting, waits.since))[:2] == waits[:2]
    assert desk.room.flow(MODEL)["day_tok"] == 7
    assert desk.queue() == ["!2", "!3"]
    await desk.release(holding)
    assert (await desk.ask_one(waiting, waits.since)).waits_for == ""
    assert desk.queue() == ["!3"]


async def test_releasing_twice_frees_and_settles_nothing_of_others(desk: Desk) -> None:
    desk.room.limit(MODEL, concurrency=1, tpd=1000)
    first, second = desk.ticket(tokens=100), desk.ticket(tokens=50)
    await desk.ask(first, second)
    use = used(tokens=60, signal="ok")
    assert await desk.release(first, use=use) == [True]
    assert await desk.release(first, use=use) == [False]
    assert desk.room.holders(MODEL) == {"!2"}
    assert desk.room.flow(MODEL)["day_tok"] == 40 + 50


async def test_a_call_that_gives_up_leaves_the_queue_and_gets_back_what_it_had_reserved(desk: Desk) -> None:
    desk.room.limit(MODEL, concurrency=1, rpm=600, tpd=1000)
    first, second = desk.ticket(tokens=100), desk.ticket(tokens=50)
    await desk.ask(first, second)
    assert await desk.release(second, use="unused") == [False]
    assert desk.queue() == []
    assert await desk.release(first, use="unused") == [True]
    assert desk.room.flow(MODEL)["day_tok"] == 0
    assert desk.room.flow(MODEL)["req"] == pytest.approx(60, abs=0.1)


async def test_a_call_whose_process_does_not_listen_is_passed_over_and_keeps_its_place(desk: Desk) -> None:
    first, gone, third = desk.ticket(), desk.ticket(channel=KEYS.calls_channel("gone")), desk.ticket()
    _, waits, _ = (await desk.ask(first, gone, third)).calls
    await desk.release(first)
    assert (desk.told(), desk.queue()) == (["!3"], [])
    fourth = desk.ticket()
    await desk.ask(fourth)
    await desk.ask_one(gone, waits.since)  # it is back
    assert desk.queue() == ["!2", "!4"]


async def test_a_hundred_calls_of_a_dead_process_hold_nobody_up(desk: Desk) -> None:
    first, last = desk.ticket(), desk.ticket()
    dead = [desk.ticket(channel=KEYS.calls_channel("gone")) for _ in range(60)]
    await desk.ask(first, *dead)
    await desk.ask(last)
    await desk.release(first)
    assert desk.told() == [last.id]


async def test_a_slot_that_is_not_renewed_lapses_and_is_given_on_when_it_is_looked_at(desk: Desk) -> None:
    first, second = desk.ticket(), desk.ticket()
    look_in_s = (await desk.ask(first, second)).look_in_s
    assert look_in_s == pytest.approx(LEASE_MS / 1000, abs=0.5)
    desk.room.age(LEASE_MS + 10)
    assert (await desk.ask()).look_in_s is None  # nobody in particular
    assert desk.told() == ["!2"]
    assert await desk.scripts.hold([first, second]) == [False, True]


async def test_a_slot_is_prolonged_taken_again_or_lost(desk: Desk) -> None:
    desk.room.limit(MODEL, concurrency=2)
    kept, evicted = desk.ticket(), desk.ticket()
    await desk.ask(kept, evicted)
    desk.room.age(LEASE_MS - 1_000)
    desk.room.evict(MODEL, evicted.id)
    assert await desk.scripts.hold([kept, evicted]) == [True, False]
    desk.room.age(LEASE_MS - 1_000)
    assert desk.room.holders(MODEL) == {kept.id}
    desk.room.age(LEASE_MS)
    assert await desk.scripts.hold([kept]) == [True]
    assert desk.room.holders(MODEL) == {kept.id}


async def test_after_the_loss_of_all_data_holders_go_first(desk: Desk) -> None:
    holding = desk.ticket()
    epoch = (await desk.ask(holding)).epoch
    desk.room.raw.flushall()
    desk.room.limit(MODEL, concurrency=1)
    newcomer = desk.ticket()
    seen = await desk.ask(newcomer, epoch=epoch)
    assert seen.epoch != epoch
    assert seen.calls[0].waits_for == MODEL
    assert await desk.scripts.hold([holding]) == [True]
    desk.room.age(2_100)  # the quarantine has ended
    await desk.ask()
    assert desk.room.holders(MODEL) == {holding.id}
    await desk.release(holding)
    assert desk.told() == [newcomer.id]


async def test_jobs_and_calls_take_turns_under_one_limit(desk: Desk) -> None:
    room = desk.room
    first = desk.ticket()
    await desk.ask(first)
    room.calls(2)
    assert ids(await room.claim()) == []
    second = desk.ticket()
    await desk.ask(second)
    room.age(5)
    await desk.release(first)
    claim = await room.claim()
    assert ids(claim) == ["0"]  # its lane waited before the second call
    await room.finish_all(claim.jobs)
    assert (desk.told(), room.holders(MODEL)) == (["!2"], {"!2"})
    await desk.release(second)
    assert ids(await room.claim()) == ["1"]


async def test_a_release_wakes_the_workers_whose_lane_is_due(desk: Desk) -> None:
    first = desk.ticket()
    await desk.ask(first)
    desk.room.calls(1)
    await desk.room.claim()
    with desk.room.raw.pubsub() as ears:
        ears.subscribe(KEYS.wake_channel)
        ears.get_message(timeout=1)
        await desk.release(first)
        assert ears.get_message(timeout=1) is not None


async def test_a_refusal_cools_the_model_down_for_jobs_and_calls(desk: Desk) -> None:
    first = desk.ticket()
    await desk.ask(first)
    await desk.release(first, use=REFUSED)
    assert desk.room.flow(MODEL)["cool_ms"] > desk.room.now_ms()
    assert (await desk.ask_one(desk.ticket())).waits_for == MODEL


async def test_what_is_no_ticket_is_refused_before_anything_is_written(desk: Desk) -> None:
    bad = Ticket("job", CHANNEL, (MODEL,), 1, 15)
    good = desk.ticket()
    for attempt in (desk.ask(good, bad), desk.release(good, bad), desk.scripts.hold([good, bad])):
        with pytest.raises(ResponseError):
            await attempt
    assert desk.room.holders(MODEL) == set()
