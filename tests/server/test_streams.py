"""Streams on a real server: what the relay writes, what readers get, and what the end of a job adds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from arq import Retry
from redis.exceptions import ResponseError

from client import InvalidRequest, JobNotFound, Queue, StreamEvent, encode, events, followers, keys, listener
from client.errors import ServerError
from client.events import position
from client.sync import SyncQueue
from tests.conftest import Server, wait_until
from tests.server.test_engine_room import Room, opened
from tests.unit.given_llm import ANSWER
from worker.engine.meter import Meter
from worker.engine.run import Policy, Run, failed, succeeded
from worker.llm.providers import Delta
from worker.streams import Relay, lines, relay

POLICY = Policy(timeout_s=10, max_tries=5, keep_result_s=60, keep_result_forever=False, retry_jobs=True)
Tell = Callable[[str], None]


class Worker:
    """A worker without its loop: it claims when it is told to, and its jobs say what the test says."""

    def __init__(self, room: Room, relay: Relay) -> None:
        self.room, self.relay = room, relay

    @asynccontextmanager
    async def run(self, job_id: str = "a") -> AsyncIterator[Tell]:
        """A run of a job that was enqueued; it ends well at the end of the block, or as its exception says."""
        (claimed,) = (await self.room.claim(1)).jobs
        assert claimed.lease.job_id == job_id
        current = Run(claimed, function="chat", enqueued_ms=1, started_ms=1)
        try:
            async with self.relay.line(job_id, claimed.lease.token, current.meter) as tell:
                yield lambda text: tell(Delta(text=text))
        except Exception as error:
            ended = failed(current, error, None, POLICY)
        else:
            ended = succeeded(current, {"text": ANSWER.text}, _FUNCTION, POLICY)
        assert (await self.room.scripts.finish([ended.outcome])) == [True]


class _Function:
    keep_result_s = keep_result_forever = None


_FUNCTION: Any = _Function()


@pytest.fixture
async def worker(server: Server) -> AsyncIterator[Worker]:
    async with opened(server) as room:
        relay = Relay(room.pool)
        yield Worker(room, relay)
        await relay.close()


class Reader:
    """Somebody who follows a job."""

    def __init__(self, queue: Queue, job_id: str = "a", after: str | None = None) -> None:
        self.seen: list[StreamEvent] = []
        self.task = asyncio.create_task(self._read(queue, job_id, after))

    async def _read(self, queue: Queue, job_id: str, after: str | None) -> list[str]:
        async for event in queue.job(job_id).stream(after):
            self.seen.append(event)
        return self.words()

    def words(self) -> list[str]:
        return [event.text or event.kind for event in self.seen]

    async def has(self, *words: str) -> None:
        await wait_until(lambda: self.words() == list(words), description=f"{words}, not {self.words()}")

    async def ends(self) -> list[str]:
        async with asyncio.timeout(10):
            return await self.task


async def nobody_follows(queue: Queue) -> None:
    async def nobody() -> bool:
        return not await queue.redis.pubsub_channels(keys.events_channel("*"))

    assert not queue.listener.followers
    await wait_until(nobody, description="no subscription is left")


async def test_a_reader_gets_what_is_said_while_it_is_said(queue: Queue, worker: Worker) -> None:
    job = await queue.chat("Hi", stream=True, job_id="a")
    reader = Reader(queue)
    async with worker.run() as tell:
        tell("Hel")
        await reader.has("Hel")
        tell("lo")
        tell(" there")
        await reader.has("Hel", "lo there")
    assert await reader.ends() == ["Hel", "lo there", "done"]
    assert await job.result(1) == {"text": "Hello"}
    ids = [position(event.id) for event in reader.seen]
    assert all(one < two for one, two in pairwise(ids))
    assert 0 < await queue.redis.ttl(keys.stream("a")) <= 60
    await nobody_follows(queue)


async def test_a_late_reader_gets_all_and_one_that_comes_back_gets_the_rest(
    queue: Queue, worker: Worker
) -> None:
    await queue.chat("Hi", stream=True, job_id="a")
    async with worker.run() as tell:
        tell("Hel")
        first = Reader(queue)
        await first.has("Hel")
        tell("lo")
    assert await first.ends() == ["Hel", "lo", "done"]
    late = Reader(queue)
    assert await late.ends() == ["Hel", "lo", "done"]
    assert late.seen == first.seen
    for at, event in enumerate(late.seen[:2]):
        assert await Reader(queue, after=event.id).ends() == late.words()[at + 1 :]


async def test_a_second_run_resets_and_its_words_replace_the_first_ones(queue: Queue, worker: Worker) -> None:
    await queue.chat("Hi", stream=True, job_id="a")
    reader = Reader(queue)
    async with worker.run() as tell:
        tell("Hx")
        await reader.has("Hx")
        tell("never written")
        raise Retry(defer=0)
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
    fixed = [keys.stream(""), keys.events_channel(""), events.FIELD, 60_000, events.RESET]
    row = ["a", b'5000000-1 {"kind":"delta","text":"x"}']
    assert await script((), [*fixed, *row, *row]) == [1, 0]
    assert await script((), [*fixed, *row]) == [0]
    assert await queue.redis.xlen(keys.stream("a")) == 1
    assert 0 < await queue.redis.ttl(keys.stream("a")) <= 60
    with pytest.raises(ResponseError, match="relay: five arguments"):
        await script((), fixed)
    with pytest.raises(ResponseError, match="relay: an event begins with its id"):
        await script((), [*fixed, "a", "words"])


async def test_the_end_is_written_with_the_outcome_and_only_by_its_run(queue: Queue, worker: Worker) -> None:
    await queue.chat("Hi", stream=True, job_id="a")
    (old,) = (await worker.room.claim(1)).jobs
    worker.room.lapse(old.lease)
    (new,) = (await worker.room.claim(1)).jobs
    end = events.done().decode()
    assert not await worker.room.finish(old.lease, "done", b"{}", ttl_ms=60_000, to=end)
    assert not await queue.redis.exists(keys.stream("a"))
    assert await worker.room.finish(new.lease, "done", b"{}", ttl_ms=60_000, to=end)
    assert await queue.redis.xlen(keys.stream("a")) == 1


async def test_a_clock_that_was_set_back_costs_no_outcome(queue: Queue, worker: Worker) -> None:
    await queue.chat("Hi", stream=True, job_id="a")
    reader = Reader(queue)
    async with worker.run() as tell:
        tell("Hello")
        await reader.has("Hello")
        await queue.redis.xadd(keys.stream("a"), {"e": events.delta(" you")}, id="9000000000000000-1")
    assert await reader.ends() == ["Hello", "done"]
    assert await Reader(queue).ends() == ["Hello", " you", "done"]


async def test_a_failure_is_the_end_with_its_class_and_its_sentence(queue: Queue, worker: Worker) -> None:
    await queue.chat("Hi", stream=True, job_id="a")
    async with worker.run() as tell:
        tell("Hel")
        raise ServerError("It broke.", status=500)
    reader = Reader(queue)
    assert await reader.ends() == ["Hel", "error"]
    error = reader.seen[-1].error
    assert isinstance(error, ServerError)
    assert (str(error), error.status) == ("It broke.", 500)


async def test_a_job_that_is_not_streamed_gives_its_text_at_its_end(queue: Queue, server: Server) -> None:
    await queue.chat("Hi", job_id="a")
    reader = Reader(queue)
    await asyncio.sleep(0)
    await queue.redis.set(keys.result("a"), _record(_completion("Hello")), px=60_000)
    await queue.redis.publish(keys.done_channel("a"), "")
    assert await reader.ends() == ["Hello", "done"]
    assert await Reader(queue, after=reader.seen[0].id).ends() == ["done"]
    assert not await queue.redis.exists(keys.stream("a"))


async def test_an_aborted_job_and_an_unknown_one_end_too(queue: Queue) -> None:
    job = await queue.chat("Hi", stream=True, job_id="a")
    reader = Reader(queue)
    await asyncio.sleep(0.01)
    assert await job.abort()
    assert await reader.ends() == ["error"]
    assert type(reader.seen[0].error).__name__ == "JobAborted"
    with pytest.raises(JobNotFound):
        await Reader(queue, "unknown").ends()
    with pytest.raises(InvalidRequest, match="no id of an event"):
        job.stream("yesterday")


async def test_a_new_job_of_an_old_id_does_not_show_the_old_stream(queue: Queue, worker: Worker) -> None:
    for words in ("one", "two"):
        await queue.chat("Hi", stream=True, job_id="a")
        async with worker.run() as tell:
            tell(words)
        assert await Reader(queue).ends() == [words, "done"]
        await queue.forget(["a"])
    assert not await queue.redis.exists(keys.stream("a"))


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


async def test_two_readers_of_one_stream_and_one_that_leaves(queue: Queue, worker: Worker) -> None:
    job = await queue.chat("Hi", stream=True, job_id="a")
    first = Reader(queue)
    async with worker.run() as tell:
        tell("Hel")
        await first.has("Hel")
        second = Reader(queue)
        await second.has("Hel")
        async with aclosing(job.stream()) as leaving:
            assert (await anext(leaving)).text == "Hel"
        tell("lo")
        first.task.cancel()
    assert await second.ends() == ["Hel", "lo", "done"]
    assert (await job.result(1))["text"] == "Hello"
    await nobody_follows(queue)


async def test_a_reader_that_does_not_keep_up_costs_little_and_misses_nothing(
    queue: Queue, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "HELD_BYTES", 500)
    monkeypatch.setattr(followers, "PAGE", 7)
    monkeypatch.setattr(lines, "PIECE_CHARS", 1)
    job = await queue.chat("Hi", stream=True, job_id="a")
    words = [f"w{n} " for n in range(100)]
    async with aclosing(job.stream()) as slow, worker.run() as tell:
        tell(words[0])
        seen = [(await anext(slow)).text]
        (follower,) = queue.listener.followers._all["a"]
        watching = Reader(queue)
        for word in words[1:]:
            tell(word)
            await asyncio.sleep(0.0005)
        await wait_until(lambda: "".join(watching.words()) == "".join(words), description="all words")
        assert follower._bytes <= followers.HELD_BYTES
        while "".join(seen) != "".join(words):
            seen.append((await anext(slow)).text)
    assert (await watching.ends())[-1] == "done"


async def test_readers_go_on_when_the_server_was_stopped_and_started(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "RECONNECT_S", 0.02)
    monkeypatch.setattr(relay, "RETRY_S", 0.02)
    async with Queue.from_url(own_server.url) as queue, opened(own_server) as room:
        worker = Worker(room, Relay(room.pool))
        await queue.chat("Hi", stream=True, job_id="a")
        reader = Reader(queue)
        async with worker.run() as tell:
            tell("Hel")
            await reader.has("Hel")
            own_server.stop()
            tell("lo ")
            await asyncio.sleep(0.1)
            own_server.start()
            tell("there")
            await wait_until(lambda: "there" in "".join(reader.words()), description="the rest")
        await reader.ends()
        assert "".join(reader.words()) == "Hello theredone"
        await worker.relay.close()


def test_a_thread_follows_a_stream(server: Server) -> None:
    with SyncQueue(server.url) as queue:
        job = queue.chat("Hi", stream=True, job_id="a")
        with server.client() as raw:
            raw.xadd(keys.stream("a"), {"e": events.delta("Hel")}, id="5-1")
            raw.xadd(keys.stream("a"), {"e": events.delta("lo")}, id="5-2")
            raw.expire(keys.stream("a"), 60)
            leaving = job.stream()
            assert next(leaving).text == "Hel"
            leaving.close()
            raw.xadd(keys.stream("a"), {"e": events.done("5-2")}, id="6-0")
        assert [event.text or event.kind for event in job.stream()] == ["Hel", "lo", "done"]
        job.abort()


async def _forget(rows: object) -> None:
    """In place of writing."""


def _record(outcome: Any) -> bytes:
    return encode(
        {"t": 1, "f": "chat", "a": [], "k": {}, "et": 1, "s": True, "r": outcome, "st": 1, "ft": 1, "id": "a"}
    )


def _completion(text: str) -> dict[str, Any]:
    return {
        "object": "promptmill.completion", "job_id": "a", "model": "m/m", "usage": {}, "cost_usd": None,
        "timings": {"enqueued_at": "2026-01-01T00:00:00Z", "queued_s": 0, "running_s": 0}, "attempts": [],
        "text": text, "finish_reason": "stop",
    }  # fmt: skip


async def test_a_full_server_is_waited_for(
    own_server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay, "RETRY_S", 0.01)
    caplog.set_level(logging.DEBUG, "promptmill.streams")
    async with Queue.from_url(own_server.url) as queue, opened(own_server) as room:
        worker = Worker(room, Relay(room.pool))
        await queue.chat("Hi", stream=True, job_id="a")
        reader = Reader(queue)
        async with worker.run() as tell:
            tell("Hel")
            await reader.has("Hel")
            room.raw.config_set("maxmemory", "1")
            tell("lo")
            await wait_until(lambda: "streams wait" in caplog.text, description="the refusal")
            room.raw.config_set("maxmemory", "0")
        assert await reader.ends() == ["Hel", "lo", "done"]
        await worker.relay.close()
