"""Readers of streams on a real server: each gets all, in order, whenever it comes and whatever breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import aclosing
from itertools import pairwise
from typing import Any, cast

import pytest

from client import InvalidRequest, JobNotFound, Queue, encode
from client.follow import followers
from client.redis import subscriber
from client.sync import SyncQueue
from client.wire import events
from client.wire.events import position
from tests.conftest import KEYS, Server, wait_until
from tests.server.streams_room import Reader, Worker, hired, nobody_follows, somebody_follows
from worker.streams import lines, relay


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
    assert cast(object, await job.result(1)) == {"text": "Hello"}
    ids = [position(event.id) for event in reader.seen]
    assert all(one < two for one, two in pairwise(ids))
    assert 0 < await queue.session.redis.ttl(KEYS.stream("a")) <= 30
    assert 30 < await queue.session.redis.ttl(KEYS.result("a")) <= 60
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
    assert cast(object, await job.result(1)) == {"text": "Hello"}
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
        (follower,) = queue.session.listener.followers._all["a"]
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
    own_server: Server,
    own_queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "promptmill")
    monkeypatch.setattr(subscriber, "RECONNECT_S", 0.02)
    monkeypatch.setattr(relay, "RETRY_S", 0.02)
    async with hired(own_server) as worker:
        await own_queue.chat("Hi", stream=True, job_id="a")
        reader = Reader(own_queue)
        async with worker.run() as tell:
            tell("Hel")
            await reader.has("Hel")
            own_server.stop()
            tell("lo ")
            await wait_until(lambda: "streams wait" in caplog.text, description="the worker notices")
            own_server.start()
            tell("there")
            await wait_until(lambda: "there" in "".join(reader.words()), description="the rest")
        await reader.ends()
        assert "".join(reader.words()) == "Hello theredone"


def test_a_thread_follows_a_stream(server: Server) -> None:
    with SyncQueue(server.url) as queue:
        job = queue.chat("Hi", stream=True, job_id="a")
        with server.client() as raw:
            raw.xadd(KEYS.stream("a"), {"e": events.delta("Hel")}, id="5-1")
            raw.xadd(KEYS.stream("a"), {"e": events.delta("lo")}, id="5-2")
            raw.expire(KEYS.stream("a"), 60)
            leaving = job.stream()
            assert next(leaving).text == "Hel"
            assert isinstance(leaving, Generator)
            leaving.close()
            raw.xadd(KEYS.stream("a"), {"e": events.done("5-2")}, id="6-0")
        assert [event.text or event.kind for event in job.stream()] == ["Hel", "lo", "done"]
        job.abort()


async def test_a_job_that_is_not_streamed_gives_its_text_at_its_end(queue: Queue, server: Server) -> None:
    await queue.chat("Hi", job_id="a")
    reader = Reader(queue)
    await somebody_follows(queue)
    await queue.session.redis.set(KEYS.result("a"), _record(_completion("Hello")), px=60_000)
    await queue.session.redis.publish(KEYS.done_channel("a"), "")
    assert await reader.ends() == ["Hello", "done"]
    assert await Reader(queue, after=reader.seen[0].id).ends() == ["done"]
    assert not await queue.session.redis.exists(KEYS.stream("a"))


async def test_an_aborted_job_and_an_unknown_one_end_too(queue: Queue) -> None:
    job = await queue.chat("Hi", stream=True, job_id="a")
    reader = Reader(queue)
    await somebody_follows(queue)
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
    assert not await queue.session.redis.exists(KEYS.stream("a"))


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
