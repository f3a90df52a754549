"""What the relay writes of streams on a real server, in which run, and what the end of a job adds."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from arq import Retry
from redis.exceptions import ConnectionError, ResponseError

from client import Queue
from client.errors import ServerError
from client.wire import events
from client.wire.token import claimed_us
from promptmill.dialects import Delta
from tests.conftest import KEYS, Server, wait_until
from tests.server.streams_room import Reader, Worker, hired
from worker.context import Meter
from worker.streams import lines, relay


async def test_a_second_run_resets_and_its_words_replace_the_first_ones(queue: Queue, worker: Worker) -> None:
    await queue.chat("Hi", stream=True, job_id="a")
    reader = Reader(queue)
    async with worker.run(ends=Retry(defer=0)) as tell:
        tell("Hx")
        await reader.has("Hx")
        tell("never written")
    async with worker.run() as tell:
        tell("Hello")
    assert await reader.ends() == ["Hx", "reset", "Hello", "done"]
    assert await Reader(queue).ends() == ["reset", "Hello", "done"]
    assert await Reader(queue, after=reader.seen[0].id).ends() == ["reset", "Hello", "done"]


async def test_a_run_that_has_lost_its_job_cannot_write_behind_a_newer_one(
    queue: Queue, worker: Worker
) -> None:
    await queue.chat("Hi", stream=True, job_id="a")
    (old,) = (await worker.room.claim(1)).jobs
    worker.room.lapse(old.lease)
    async with worker.run() as tell:
        tell("new")
        reader = Reader(queue)
        await reader.has("new")
        async with worker.relay.line("a", old.lease.token, Meter()) as tell_late:
            tell_late(Delta(text="old"))
        tell("er")
    async with worker.relay.line("a", old.lease.token, Meter()) as tell_late:
        tell_late(Delta(text="later still"))
    assert await reader.ends() == ["new", "er", "done"]
    assert await Reader(queue).ends() == ["new", "er", "done"]


async def test_an_event_that_is_sent_twice_is_there_once(queue: Queue, worker: Worker) -> None:
    script = worker.relay._script
    row: list[str | bytes] = ["a", b'5000000-1 {"kind":"delta","text":"x"}']
    assert await script(args=[60_000, *row, *row]) == [1, 0]
    assert await script(args=[60_000, *row]) == [0]
    assert await queue.session.redis.xlen(KEYS.stream("a")) == 1
    assert 0 < await queue.session.redis.ttl(KEYS.stream("a")) <= 60
    with pytest.raises(ResponseError, match="relay: an argument"):
        await script(args=[60_000])
    with pytest.raises(ResponseError, match="relay: an event begins with its id"):
        await script(args=[60_000, "a", "words"])


async def test_the_end_is_written_with_the_outcome_and_only_by_its_run(queue: Queue, worker: Worker) -> None:
    await queue.chat("Hi", stream=True, job_id="a")
    (old,) = (await worker.room.claim(1)).jobs
    worker.room.lapse(old.lease)
    (new,) = (await worker.room.claim(1)).jobs
    end = f"30000 {events.done().decode()}"
    assert not await worker.room.finish(old.lease, "done", b"{}", ttl_ms=60_000, to=end)
    assert not await queue.session.redis.exists(KEYS.stream("a"))
    assert await worker.room.finish(new.lease, "done", b"{}", ttl_ms=60_000, to=end)
    assert await queue.session.redis.xlen(KEYS.stream("a")) == 1
    assert 20 < await queue.session.redis.ttl(KEYS.stream("a")) <= 30  # seconds; the result lives on


async def test_a_clock_that_was_set_back_costs_no_outcome(queue: Queue, worker: Worker) -> None:
    await queue.chat("Hi", stream=True, job_id="a")
    reader = Reader(queue)
    async with worker.run() as tell:
        tell("Hello")
        await reader.has("Hello")
        await queue.session.redis.xadd(KEYS.stream("a"), {"e": events.delta(" you")}, id="9000000000000000-1")
    assert await reader.ends() == ["Hello", "done"]
    assert await Reader(queue).ends() == ["Hello", " you", "done"]


async def test_a_failure_is_the_end_with_its_class_and_its_sentence(queue: Queue, worker: Worker) -> None:
    await queue.chat("Hi", stream=True, job_id="a")
    async with worker.run(ends=ServerError("It broke.", status=500)) as tell:
        tell("Hel")
    reader = Reader(queue)
    assert await reader.ends() == ["Hel", "error"]
    error = reader.seen[-1].error
    assert isinstance(error, ServerError)
    assert (str(error), error.status) == ("It broke.", 500)


async def test_an_answer_that_is_too_long_is_cut_and_says_so(
    queue: Queue, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_BYTES", 200)
    await queue.chat("Hi", stream=True, job_id="a")
    async with worker.run() as tell:
        tell("x" * 150)
        tell("y" * 150)
    assert await Reader(queue).ends() == ["x" * 150, "truncated", "done"]


async def test_words_that_were_never_stored_are_told_of(
    queue: Queue, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.chat("Hi", stream=True, job_id="a")
    async with worker.run() as tell:
        tell("Hel")
        reader = Reader(queue)
        await reader.has("Hel")
        monkeypatch.setattr(worker.relay, "_write", _forget)
        tell("lo")
    assert await reader.ends() == ["Hel", "truncated", "done"]
    assert await Reader(queue, after=reader.seen[1].id).ends() == ["done"]


async def test_a_full_server_takes_what_running_jobs_say(own_server: Server, own_queue: Queue) -> None:
    async with hired(own_server) as worker:
        await own_queue.chat("Hi", stream=True, job_id="a")
        worker.room.raw.config_set("maxmemory", "1")
        async with worker.run() as tell:
            tell("Hello")
        assert await Reader(own_queue).ends() == ["Hello", "done"]


async def test_an_event_that_redis_hangs_up_on_is_lost_alone(
    own_server: Server, own_queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "promptmill.streams")
    async with hired(own_server) as worker:
        worker.room.raw.config_set("proto-max-bulk-len", str(1024 * 1024))
        await own_queue.chat("Hi", stream=True, job_id="a")
        (claimed,) = (await worker.room.claim(1)).jobs
        run = claimed_us(claimed.lease.token)
        events_ = [
            b"%d-%d %b" % (run, n, events.delta("x" * size)) for n, size in ((1, 1), (2, 1_500_000), (3, 2))
        ]
        await worker.relay._write([("a", event) for event in events_])
        redis = worker.room.raw
        assert [len(fields[b"e"]) for _, fields in redis.xrange(KEYS.stream("a"))] == [
            len(events.delta("x" * size)) for size in (1, 2)
        ]
    assert caplog.text.count("lost now") == 1


async def test_an_outage_is_waited_out(
    worker: Worker, queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay, "RETRY_S", 0.01)
    caplog.set_level(logging.DEBUG, "promptmill.streams")
    script, refusals = worker.relay._script, [ConnectionError("away")] * 3

    async def away(**args: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await script(**args)

    await queue.chat("Hi", stream=True, job_id="a")
    async with worker.run() as tell:
        monkeypatch.setattr(worker.relay, "_script", away)
        tell("lo")
        await wait_until(lambda: not refusals, description="the refusals")
    assert "streams wait" in caplog.text
    assert await Reader(queue).ends() == ["lo", "done"]


async def _forget(rows: object) -> None:
    """In place of writing."""
