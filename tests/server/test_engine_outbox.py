"""The outbox: outcomes are written in batches, in order, once, and survive Redis going away."""

from __future__ import annotations

import asyncio
import logging
import re
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis.exceptions import ConnectionError, OutOfMemoryError, ResponseError

from client import decode
from client.errors import Unserializable
from client.redis.connection import connect
from client.redis.url import server_address
from tests.conftest import KEYS, Server, wait_until
from tests.server.test_engine_room import Room, opened
from worker.engine import finish
from worker.engine.finish import BATCH, Outbox
from worker.engine.outage import Outage
from worker.engine.scripts import EngineScripts, Lease, Outcome, Parts
from worker.unreachable import UNREACHABLE

TTL_MS = 60_000


@dataclass
class Desk:
    """An outbox at work, and what it settled."""

    outbox: Outbox
    outage: Outage
    settled: list[tuple[str, bool]] = field(default_factory=list)

    async def emptied(self) -> None:
        async with asyncio.timeout(10):
            await self.outbox.emptied()


@asynccontextmanager
async def at_work(room: Room) -> AsyncIterator[Desk]:
    outage = Outage(limit_s=10)
    outbox = Outbox(room.scripts, outage, lambda outcome, ok: desk.settled.append((outcome.lease.job_id, ok)))
    desk = Desk(outbox, outage)
    running = asyncio.create_task(outbox.run())
    try:
        yield desk
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def claimed(room: Room, count: int) -> list[Lease]:
    room.put(*map(str, range(count)))
    return [job.lease for job in (await room.claim(count)).jobs]


class Token(str):
    """A token that can be looked after."""


def done(lease: Lease) -> Outcome:
    return Outcome(lease, "done", f"answer {lease.job_id}".encode(), ttl_ms=TTL_MS)


def answers(room: Room, count: int) -> Any:
    return room.raw.mget([KEYS.result(str(n)) for n in range(count)])


async def test_what_ends_in_one_tick_is_written_by_one_script(room: Room) -> None:
    leases = await claimed(room, 100)
    async with at_work(room) as desk:
        before = room.scripts_run()
        for lease in leases:
            desk.outbox.put(done(lease))
        assert len(desk.outbox) == 100
        await desk.emptied()
        assert room.scripts_run() - before <= 2  # the first may not know the script yet
        assert desk.settled == [(lease.job_id, True) for lease in leases]
    assert answers(room, 100) == [f"answer {n}".encode() for n in range(100)]


async def test_more_than_a_batch_is_written_in_order(room: Room) -> None:
    leases = await claimed(room, 3 * BATCH + 1)
    async with at_work(room) as desk:
        for lease in leases:
            desk.outbox.put(done(lease))
        await desk.emptied()
        assert [job_id for job_id, _ in desk.settled] == [lease.job_id for lease in leases]
    assert len(desk.outbox) == 0


async def test_an_outcome_that_is_written_takes_no_memory_any_more(room: Room) -> None:
    await claimed(room, 1)
    async with at_work(room) as desk:
        token = Token("mill:1:w9")
        gone = weakref.ref(token)
        desk.outbox.put(done(Lease("0", KEYS.queue, token)))
        del token
        await desk.emptied()
        assert gone() is None


async def test_an_outbox_with_nothing_in_it_is_empty(room: Room) -> None:
    async with at_work(room) as desk:
        await desk.emptied()


async def test_what_is_put_while_a_batch_is_written_follows_it(room: Room) -> None:
    leases = await claimed(room, 2)
    async with at_work(room) as desk:
        _wrap(room, before=lambda: desk.outbox.put(done(leases[1])), times=1)
        desk.outbox.put(done(leases[0]))
        await desk.emptied()
        assert desk.settled == [("0", True), ("1", True)]


async def test_a_refused_outcome_is_settled_and_logged(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    (lease,) = await claimed(room, 1)
    async with at_work(room) as desk:
        desk.outbox.put(done(Lease("0", lease.lane, "mill:1:w9")))
        await desk.emptied()
        assert desk.settled == [("0", False)]
    assert "0: not accepted, its lease was lost" in caplog.text


async def test_outcomes_wait_while_redis_is_away_and_are_written_when_it_is_back(
    own_server: Server,
) -> None:
    async with opened(own_server) as room:
        leases = await claimed(room, 300)
        async with at_work(room) as desk:
            own_server.stop()
            for lease in leases:
                desk.outbox.put(done(lease))
            await desk.outage.begun()
            assert desk.settled == []
            own_server.start()
            await _ride_out(desk, room)
            await desk.emptied()
            assert desk.settled == [(lease.job_id, True) for lease in leases]
        assert answers(room, 300) == [f"answer {n}".encode() for n in range(300)]


async def test_a_batch_whose_reply_was_lost_is_written_once(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    leases = await claimed(room, 3)
    with room.raw.pubsub() as heard:
        heard.psubscribe(KEYS.done_channel("*"))
        heard.get_message(timeout=1)
        async with at_work(room) as desk:
            _wrap(room, after=ConnectionError("the reply was lost"), times=1)
            for lease in leases[:2]:
                desk.outbox.put(done(lease))
            desk.outbox.put(Outcome(leases[2], "retry", ttl_ms=TTL_MS))
            await desk.outage.begun()
            await _ride_out(desk, room)
            await desk.emptied()
            assert [job_id for job_id, _ in desk.settled] == ["0", "1", "2"]
        told = [heard.get_message(timeout=0.05) for _ in range(3)]
    assert [message and message["channel"] for message in told] == [
        KEYS.done_channel("0").encode(),
        KEYS.done_channel("1").encode(),
        None,
    ]
    assert room.raw.get(KEYS.retry("2")) == b"1"
    assert "not accepted" not in caplog.text


async def test_outcomes_are_written_while_redis_is_out_of_memory(own_server: Server) -> None:
    async with opened(own_server) as room:
        (lease,) = await claimed(room, 1)
        async with at_work(room) as desk:
            room.raw.config_set("maxmemory", "1")
            desk.outbox.put(done(lease))
            await desk.emptied()
            assert desk.settled == [("0", True)]
            assert not desk.outage.lasting


@pytest.mark.parametrize(
    "words",
    [
        "Error running script (call to f_1): @user_script:60: -OOM command not allowed",
        "Error running script (call to f_1): @user_script:60: -READONLY You can't write against a replica.",
        "MISCONF Redis is configured to save RDB snapshots, but is unable to persist to disk.",
        "NOREPLICAS Not enough good replicas to write.",
    ],
)
async def test_a_server_that_cannot_write_for_now_is_away(room: Room, words: str) -> None:
    async def refuses(args: object) -> None:
        raise ResponseError(words)

    room.scripts._claim = refuses  # type: ignore[assignment]
    with pytest.raises(UNREACHABLE, match=re.escape(words)):
        await room.claim()


async def test_an_outage_lasts_while_redis_refuses_even_a_ping() -> None:
    refusals = [ResponseError("MISCONF Redis is unable to persist to disk"), ConnectionError("refused")]
    renewed: list[bool] = []

    async def ping() -> None:
        if refusals:
            raise refusals.pop()

    async def renew() -> None:
        renewed.append(outage.lasting)

    outage = Outage(limit_s=10)
    outage.begin(OutOfMemoryError("full"))
    riding = asyncio.create_task(outage.ride_out(ping, renew))
    async with asyncio.timeout(10):
        await outage.over()
    riding.cancel()
    assert renewed == [True]


async def test_outcomes_are_kept_when_redis_refuses_them(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(finish, "REFUSED_RETRY_S", 0)
    (lease,) = await claimed(room, 1)
    async with at_work(room) as desk:
        _wrap(room, after=ResponseError("NOPERM this user has no permissions"), instead=True, times=2)
        desk.outbox.put(done(lease))
        await desk.emptied()
        assert desk.settled == [("0", True)]
    assert [record.levelno for record in caplog.records] == 2 * [logging.ERROR]


# -- an outcome that is at fault ---------------------------------------------------------------------

MB = 1024 * 1024


@asynccontextmanager
async def narrow(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    """A room on a server that hangs up on what has more than a megabyte."""
    monkeypatch.setattr(finish, "REFUSED_RETRY_S", 0)
    async with opened(server) as room:
        room.raw.config_set("proto-max-bulk-len", str(MB))
        impatient = connect(server_address(server.url), retries=0)
        room.scripts = EngineScripts(impatient, KEYS)
        yield room
        await impatient.aclose()


async def test_an_outcome_that_redis_hangs_up_on_fails_alone_and_others_are_written(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with narrow(own_server, monkeypatch) as room:
        leases = await claimed(room, 9)
        async with at_work(room) as desk:
            for n, lease in enumerate(leases):
                large = Outcome(
                    lease, "done", b'{"t":1,"f":"large","r":"%s"}' % (b"x" * 2 * MB), ttl_ms=TTL_MS
                )
                desk.outbox.put(large if n in (0, 5) else done(lease))
            await desk.emptied()
            assert desk.settled == [(lease.job_id, True) for lease in leases]
            assert not desk.outage.lasting
        for n, text in enumerate(answers(room, 9)):
            if n not in (0, 5):
                assert text == f"answer {n}".encode()
                continue
            ended = decode(text)
            assert (ended["f"], ended["s"], ended["q"]) == ("large", False, KEYS.queue)
            assert isinstance(ended["r"], Unserializable)
            assert "2,097,17" in str(ended["r"])


async def test_after_one_that_was_too_large_others_of_its_size_hold_nobody_up(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with narrow(own_server, monkeypatch) as room:
        leases, tries = await claimed(room, 12), list[int]()
        write = room.scripts.finish

        async def counted(outcomes: Sequence[Outcome]) -> list[bool]:
            tries.append(len(outcomes))
            return await write(outcomes)

        monkeypatch.setattr(room.scripts, "finish", counted)
        async with at_work(room) as desk:
            for lease in leases:
                desk.outbox.put(Outcome(lease, "done", b"x" * 2 * MB, ttl_ms=TTL_MS))
            await desk.emptied()
            assert desk.settled == [(lease.job_id, True) for lease in leases]
        assert tries.count(1) <= finish.FAILURES + 1 + 2 * 11  # each once, and the small one in its place
        for text in answers(room, 12):
            assert isinstance(decode(text)["r"], Unserializable)


@pytest.mark.parametrize("verb", ["retry", "again", "throttled", "reroute", "dead"])
async def test_whatever_was_to_become_of_its_job_it_ends(
    verb: Any, own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with narrow(own_server, monkeypatch) as room:
        (lease,) = await claimed(room, 1)
        async with at_work(room) as desk:
            big = b"x" * 2 * MB
            to = KEYS.lane("other") if verb == "reroute" else ""
            desk.outbox.put(Outcome(lease, verb, b"{}", ttl_ms=TTL_MS, delay_ms=5, to=to, attempts=big))
            await desk.emptied()
            assert desk.settled == [("0", True)]
        assert isinstance(decode(room.raw.get(KEYS.result("0")))["r"], Unserializable)
        assert room.raw.pttl(KEYS.result("0")) > 0
        assert room.raw.exists(KEYS.dead("0")) == (verb == "dead")


async def test_parts_that_redis_hangs_up_on_are_dropped(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with narrow(own_server, monkeypatch) as room:
        (lease,) = await claimed(room, 1)
        async with at_work(room) as desk:
            desk.outbox.put(Parts(lease, {"0:a": b"x" * 2 * MB}))
            desk.outbox.put(done(lease))
            await desk.emptied()
            assert desk.settled == [("0", True)]


async def test_one_that_a_script_refuses_fails_alone(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "REFUSED_RETRY_S", 0)
    leases = await claimed(room, 20)
    write = room.scripts.finish

    async def strict(outcomes: Sequence[Outcome]) -> list[bool]:
        if any(outcome.text == b"answer 7" for outcome in outcomes):
            raise ResponseError("a script does not like it")
        return await write(outcomes)

    monkeypatch.setattr(room.scripts, "finish", strict)
    async with at_work(room) as desk:
        for lease in leases:
            desk.outbox.put(done(lease))
        await desk.emptied()
        assert desk.settled == [(lease.job_id, True) for lease in leases]
    texts = answers(room, 20)
    assert isinstance(decode(texts.pop(7))["r"], Unserializable)
    assert texts == [f"answer {n}".encode() for n in range(20) if n != 7]


async def test_what_is_refused_with_all_others_is_kept(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "REFUSED_RETRY_S", 0)
    (lease,) = await claimed(room, 1)
    async with at_work(room) as desk:
        _wrap(room, after=ResponseError("NOPERM of all"), instead=True, times=13)
        desk.outbox.put(done(lease))
        await desk.emptied()
    assert answers(room, 1) == [b"answer 0"]


async def test_a_batch_has_as_many_megabytes_as_a_server_reads_at_once(room: Room) -> None:
    leases = await claimed(room, 5)
    sizes: list[int] = []
    write = room.scripts.finish

    async def measured(outcomes: Sequence[Outcome]) -> list[bool]:
        sizes.append(len(outcomes))
        return await write(outcomes)

    room.scripts.finish = measured  # type: ignore[method-assign]
    async with at_work(room) as desk:
        for lease in leases:
            desk.outbox.put(Outcome(lease, "done", b"x" * (finish.BATCH_BYTES // 2), ttl_ms=TTL_MS))
        await desk.emptied()
    assert sizes == [2, 2, 1]


async def _ride_out(desk: Desk, room: Room) -> None:
    async def renew() -> None: ...

    riding = asyncio.create_task(desk.outage.ride_out(room.pool.ping, renew))
    await wait_until(lambda: not desk.outage.lasting, description="the outage to end")
    riding.cancel()
    await asyncio.gather(riding, return_exceptions=True)


def _wrap(
    room: Room,
    *,
    before: Callable[[], None] = lambda: None,
    after: Exception | None = None,
    instead: bool = False,
    times: int,
) -> None:
    """The next calls of `finish`: with something before, an error after or one instead."""
    write, left = room.scripts.finish, [None] * times

    async def wrapped(outcomes: Sequence[Outcome]) -> list[bool]:
        if not left:
            return await write(outcomes)
        left.pop()
        before()
        replies = [] if instead else await write(outcomes)
        if after is not None:
            raise after
        return replies

    room.scripts.finish = wrapped  # type: ignore[method-assign]


# -- parts of a job ----------------------------------------------------------------------------------


def parts_of(room: Room, job_id: str) -> Any:
    return room.raw.hgetall(KEYS.parts(job_id))


async def test_parts_are_written_before_the_outcome_of_their_run_and_only_under_its_token(room: Room) -> None:
    mine, done_, late = await claimed(room, 3)
    forged = Lease(late.job_id, late.lane, late.token + "x")
    async with at_work(room) as desk:
        for lease in (mine, done_, forged):
            desk.outbox.put(Parts(lease, {"0:a": b"numbers", "0:a:told": b"{}"}))
        desk.outbox.put(Outcome(mine, "back"))
        desk.outbox.put(done(done_))
        desk.outbox.put(Parts(mine, {"1:b": b"after its outcome"}))
        assert len(desk.outbox) == 2
        await desk.emptied()
    assert parts_of(room, mine.job_id) == {b"0:a": b"numbers", b"0:a:told": b"{}"}
    assert 0 < room.raw.ttl(KEYS.parts(mine.job_id)) <= 86_400
    assert parts_of(room, done_.job_id) == parts_of(room, late.job_id) == {}


async def test_parts_outlast_an_outage(own_server: Server) -> None:
    async with opened(own_server) as room:
        (lease,) = await claimed(room, 1)
        async with at_work(room) as desk:
            own_server.stop()
            desk.outbox.put(Parts(lease, {"0:a": b"numbers"}))
            desk.outbox.put(Outcome(lease, "retry", ttl_ms=TTL_MS))
            await desk.outage.begun()
            own_server.start()
            riding = asyncio.create_task(desk.outage.ride_out(room.pool.ping, _nothing))
            await desk.emptied()
            riding.cancel()
        assert parts_of(room, lease.job_id) == {b"0:a": b"numbers"}
        assert desk.settled == [(lease.job_id, True)]


async def _nothing() -> None:
    pass


async def test_parts_that_redis_refuses_hold_up_no_outcome(room: Room) -> None:
    (lease,) = await claimed(room, 1)
    room.raw.set(KEYS.parts(lease.job_id), "not a hash", px=TTL_MS)
    async with at_work(room) as desk:
        desk.outbox.put(Parts(lease, {"0:a": b"numbers"}))
        desk.outbox.put(done(lease))
        await desk.emptied()
        assert desk.settled == [(lease.job_id, True)]


async def test_parts_outlast_a_server_that_is_busy_with_a_script_of_others(
    own_server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(finish, "REFUSED_RETRY_S", 0.05)
    async with opened(own_server) as room:
        (lease,) = await claimed(room, 1)
        room.raw.config_set("lua-time-limit", 10)  # ms; from then on it refuses all that comes
        hogging = asyncio.create_task(asyncio.to_thread(room.raw.eval, "while true do end", 0))
        await wait_until(lambda: _refuses(room), description="it is busy")
        async with at_work(room) as desk:
            desk.outbox.put(Parts(lease, {"0:a": b"numbers"}))
            await wait_until(lambda: "it is kept" in caplog.text, description="refused once")
            room.raw.script_kill()
            await desk.emptied()
        with pytest.raises(ResponseError):
            await hogging
        assert parts_of(room, lease.job_id) == {b"0:a": b"numbers"}


def _refuses(room: Room) -> bool:
    try:
        room.raw.ping()
    except ResponseError:
        return True
    return False


@pytest.mark.parametrize(
    "args", [(), ("id", "token"), ("id", "token", "field"), ("id", "token", "f", "v", "f")]
)
async def test_wrong_arguments_of_parts_are_refused(room: Room, args: tuple[str, ...]) -> None:
    with pytest.raises(ResponseError, match="keep: "):
        await room.scripts._keep(args=args)
