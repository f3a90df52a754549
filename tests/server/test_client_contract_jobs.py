"""What a job tells of its state, its abort and its result, on a real server and on the fake alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from client import InvalidRequest, JobAborted, JobNotFound, JobStatus, Queue, ResultTimeout, errors
from tests.conftest import KEYS, wait_until
from tests.server.given_client_jobs import CHATS, finish, run


async def queued(queue: Queue) -> None:
    await queue.chat("hi", job_id="a")


async def deferred(queue: Queue) -> None:
    await queue.chat("hi", job_id="a", defer_s=60)


async def running(queue: Queue) -> None:
    await queued(queue)
    await run(queue, "a")


async def complete(queue: Queue) -> None:
    await queued(queue)
    await finish(queue, "a", "answer")


async def failed(queue: Queue) -> None:
    await queued(queue)
    await finish(queue, "a", errors.RateLimited("Slow down."))


async def unknown(queue: Queue) -> None:
    """Nothing was done."""


Given = Callable[[Queue], Awaitable[None]]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (queued, JobStatus.queued),
        (deferred, JobStatus.deferred),
        (running, JobStatus.in_progress),
        (complete, JobStatus.complete),
        (failed, JobStatus.complete),
    ],
)
async def test_the_state_of_a_job_is_told(any_queue: Queue, given: Given, status: JobStatus) -> None:
    await given(any_queue)
    job = any_queue.job("a")
    info = await job.info()
    assert await job.status() == info.status == status
    assert (info.job_id, info.function) == ("a", "chat")
    ended = status == JobStatus.complete
    assert (info.due_at is None) == ended
    assert (info.finished_at is not None) == (info.started_at is not None) == (info.tries == 1) == ended
    assert info.success == (None if not ended else given is complete)
    assert info.error == ("Slow down." if given is failed else None)


async def test_an_unknown_job_is_not_found(any_queue: Queue) -> None:
    job = any_queue.job("a")
    assert await job.status() == JobStatus.not_found
    for verb in (job.info(), job.result(5), job.result(0)):
        with pytest.raises(JobNotFound, match="There is no job 'a'"):
            await verb


async def test_an_id_that_is_no_unicode_is_refused_by_every_verb(any_queue: Queue) -> None:
    dead, ids = any_queue.dead, ["a", "\udc80"]
    with pytest.raises(InvalidRequest, match="is not valid Unicode"):
        any_queue.job(ids[1])
    for verb in (any_queue.forget(ids), dead.get(ids[1]), dead.retry(ids), dead.delete(ids)):
        with pytest.raises(InvalidRequest, match="is not valid Unicode"):
            await verb


@pytest.mark.parametrize("given", [queued, deferred])
async def test_a_job_that_has_not_started_is_aborted_at_once(any_queue: Queue, given: Given) -> None:
    await given(any_queue)
    before = await any_queue.job("a").info()
    waiting = asyncio.create_task(any_queue.job("a").result(10))
    assert await any_queue.job("a").abort()
    with pytest.raises(JobAborted, match="aborted before it started"):
        await waiting
    info = await any_queue.job("a").info()
    assert (info.function, info.enqueued_at) == ("chat", before.enqueued_at)
    assert (info.status, info.success) == (JobStatus.complete, False)
    assert await any_queue.session.redis.zcard(CHATS) == 0
    assert not await any_queue.session.redis.exists(KEYS.job("a"), KEYS.aborts)


@pytest.mark.parametrize(
    ("outcome", "aborted"),
    [
        (asyncio.CancelledError(), True),
        ("an answer after all", False),
        (errors.RateLimited("Slow down."), False),
    ],
)
async def test_a_running_job_is_aborted_by_its_worker(
    any_queue: Queue, outcome: object, aborted: bool
) -> None:
    await running(any_queue)
    aborting = asyncio.create_task(any_queue.job("a").abort())

    async def asked() -> bool:
        return bool(await any_queue.session.redis.zrange(KEYS.aborts, 0, -1) == [b"a"])

    await wait_until(asked, description="the abort is asked for")
    await finish(any_queue, "a", outcome)
    assert await aborting is aborted


async def test_an_abort_that_no_worker_hears_says_so_and_stays(any_queue: Queue) -> None:
    await running(any_queue)
    with pytest.raises(ResultTimeout):
        await any_queue.job("a").abort(0.01)
    assert await any_queue.session.redis.zrange(KEYS.aborts, 0, -1) == [b"a"]


@pytest.mark.parametrize("given", [complete, failed, unknown])
async def test_aborting_what_has_ended_or_is_unknown_writes_nothing(any_queue: Queue, given: Given) -> None:
    await given(any_queue)
    before = await any_queue.session.redis.keys("*")
    assert not await any_queue.job("a").abort()
    assert await any_queue.session.redis.keys("*") == before
    await any_queue.forget(["a"])
    await any_queue.chat("a later job of that id", job_id="a")
    assert await any_queue.job("a").status() == JobStatus.queued


async def test_a_job_that_another_program_pickled_can_be_aborted(any_queue: Queue) -> None:
    await queued(any_queue)
    await any_queue.session.redis.set(KEYS.job("a"), b"\x80\x04N.", px=1000)
    with pytest.raises(errors.Unserializable, match="is not written in JSON and is not read"):
        await any_queue.job("a").info()
    assert await any_queue.job("a").abort()


async def test_a_result_that_another_program_pickled_is_not_read(any_queue: Queue) -> None:
    await any_queue.session.redis.set(KEYS.result("a"), b"\x80\x04N.", px=1000)
    for verb in (any_queue.job("a").result(5), any_queue.job("a").info()):
        with pytest.raises(errors.Unserializable, match="is not written in JSON and is not read"):
            await verb


@pytest.mark.parametrize("timeout_s", [0, -1])
async def test_without_time_to_wait_the_result_is_only_looked_for(any_queue: Queue, timeout_s: float) -> None:
    await queued(any_queue)
    with pytest.raises(ResultTimeout, match="has not finished within"):
        await any_queue.job("a").result(timeout_s)
    await finish(any_queue, "a", "answer")
    assert await any_queue.job("a").result(timeout_s) == "answer"


async def test_the_typed_error_of_a_job_is_raised(any_queue: Queue) -> None:
    await queued(any_queue)
    await finish(any_queue, "a", errors.RateLimited("Slow down.", status=429, provider="openai"))
    with pytest.raises(errors.RateLimited, match=r"^Slow down\.$") as raised:
        await any_queue.job("a").result(5)
    assert (raised.value.status, raised.value.provider) == (429, "openai")


async def test_a_worker_is_alive_while_it_reports(any_queue: Queue) -> None:
    assert not await any_queue.workers_alive()
    await any_queue.session.redis.set(KEYS.health(KEYS.queue), "ok", px=1000)
    assert await any_queue.workers_alive()
    await any_queue.ping()
