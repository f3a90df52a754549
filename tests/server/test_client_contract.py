"""The queue's promises, on a real server and on the fake alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from client import (
    EmbedRequest,
    InvalidRequest,
    JobAborted,
    JobNotFound,
    JobStatus,
    Queue,
    ResultTimeout,
    decode,
    encode,
    errors,
    keys,
    sweep,
)
from client.tickets import HEAD_STARTS_S
from tests.conftest import wait_until

DAY_MS = 86_400_000
CHATS = keys.lane("@chat")  # where chats go that say no more than their prompt


async def payload(queue: Queue, job_id: str) -> dict[str, Any]:
    data = await queue.redis.get(keys.job(job_id))
    assert data is not None
    return decode(data)


async def finish(queue: Queue, job_id: str, outcome: object, *, signal: bool = True) -> None:
    """What a worker does at the end of a job."""
    job = await payload(queue, job_id)
    failed = isinstance(outcome, BaseException)
    record = {**job, "t": 1, "s": not failed, "r": outcome, "st": job["et"], "ft": job["et"]}
    async with queue.redis.pipeline(transaction=True) as end:
        end.set(keys.result(job_id), encode(record | {"id": job_id}), ex=60)
        end.delete(keys.job(job_id), keys.in_progress(job_id))
        end.zrem(job["q"], job_id)
        if signal:
            end.publish(keys.done_channel(job_id), "")
        await end.execute()


async def run(queue: Queue, job_id: str) -> None:
    """What a worker does at the start of a job."""
    await queue.redis.set(keys.in_progress(job_id), b"1", px=60_000)


async def test_a_chat_is_queued_as_arq_reads_it(any_queue: Queue) -> None:
    job = await any_queue.chat("hi", model="openai/m", max_tokens=5)
    record = await payload(any_queue, job.id)
    fields = {"messages": [{"role": "user", "content": "hi"}], "model": "openai/m", "max_tokens": 5}
    assert (record["f"], record["a"], record["k"]) == ("chat", [fields], {})
    head_start_ms = HEAD_STARTS_S["normal"] * 1000
    lane = keys.lane("openai/m")
    assert record["q"] == lane
    assert await any_queue.redis.zscore(lane, job.id) + head_start_ms >= record["et"]


async def test_an_embedding_is_queued_as_one_job(any_queue: Queue) -> None:
    job = await any_queue.embed(["a", "b"])
    assert (await payload(any_queue, job.id))["a"] == [{"texts": ["a", "b"]}]
    first, second = await any_queue.embed_many([EmbedRequest(texts=["c"]), "d"])
    assert (await payload(any_queue, first.id))["a"] == [{"texts": ["c"]}]
    assert (await payload(any_queue, second.id))["a"] == [{"texts": ["d"]}]


async def test_any_job_is_queued_with_its_arguments(any_queue: Queue) -> None:
    job = await any_queue.enqueue("tidy", 1, {"a": [2]}, _job_id="t", where="here", function="no clash")
    record = await payload(any_queue, "t")
    assert job.id == "t"
    assert (record["f"], record["a"]) == ("tidy", [1, {"a": [2]}])
    assert record["k"] == {"where": "here", "function": "no clash"}


async def test_arguments_that_are_not_json_are_refused(any_queue: Queue) -> None:
    with pytest.raises(errors.Unserializable, match=r"A builtins\.object cannot be written"):
        await any_queue.enqueue("tidy", object(), _job_id="t")
    assert await any_queue.job("t").status() == JobStatus.not_found


async def test_many_chats_keep_their_order_over_several_round_trips(any_queue: Queue) -> None:
    jobs = await any_queue.chat_many([f"prompt {i}" for i in range(450)])
    assert len({job.id for job in jobs}) == await any_queue.redis.zcard(CHATS) == 450
    for i in (0, 199, 200, 449):
        message = (await payload(any_queue, jobs[i].id))["a"][0]["messages"][0]
        assert message["content"] == f"prompt {i}"


async def test_all_requests_are_checked_before_the_first_is_sent(any_queue: Queue) -> None:
    with pytest.raises(InvalidRequest, match="is empty"):
        await any_queue.chat_many(["good"] * 300 + [""])
    assert await any_queue.redis.dbsize() == 0


async def test_no_requests_are_no_jobs(any_queue: Queue) -> None:
    assert await any_queue.chat_many([]) == []
    assert await any_queue.chat_many([], job_ids=[]) == []
    await any_queue.forget([])


async def test_an_id_is_queued_once(any_queue: Queue) -> None:
    await any_queue.chat("first", job_id="a")
    again = await any_queue.chat("second", job_id="a")
    assert again.id == "a"
    assert (await payload(any_queue, "a"))["a"][0]["messages"][0]["content"] == "first"
    assert await any_queue.redis.zcard(CHATS) == 1


async def test_an_id_given_twice_in_one_call_is_queued_once(any_queue: Queue) -> None:
    jobs = await any_queue.chat_many(["one", "two"], job_ids=["a", "a"])
    assert [job.id for job in jobs] == ["a", "a"]
    assert (await payload(any_queue, "a"))["a"][0]["messages"][0]["content"] == "one"


async def test_an_id_that_has_its_result_is_not_run_again(any_queue: Queue) -> None:
    await any_queue.chat("hi", job_id="a")
    await finish(any_queue, "a", "answer")
    again = await any_queue.chat("hi", job_id="a")
    assert await again.result(5) == "answer"
    assert await any_queue.redis.zcard(CHATS) == 0


async def test_an_id_is_free_again_once_it_is_forgotten(any_queue: Queue) -> None:
    for forget in (["a"], "a"):
        await any_queue.chat("hi", job_id="a")
        await finish(any_queue, "a", "answer")
        await any_queue.forget(forget)
        assert await any_queue.job("a").status() == JobStatus.not_found


async def test_an_id_that_still_runs_after_its_deadline_is_not_queued_twice(any_queue: Queue) -> None:
    await any_queue.chat("hi", job_id="a")
    await run(any_queue, "a")
    await any_queue.redis.delete(keys.job("a"))  # as the deadline does
    await any_queue.chat("hi", job_id="a")
    assert not await any_queue.redis.exists(keys.job("a"))


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (["a"], "There are 2 requests but 1 job ids."),
        (["a", "b", "c"], "There are 2 requests but 3 job ids."),
        ("ab", "There are 2 requests but 1 job ids."),
        (["a", ""], "must be a text that is not empty, not ''"),
        (["a", 5], "must be a text that is not empty, not 5"),
        (["a", "\ud800"], "is not valid Unicode"),
    ],
)
async def test_bad_ids_are_refused(any_queue: Queue, ids: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        await any_queue.chat_many(["one", "two"], job_ids=ids)
    assert await any_queue.redis.dbsize() == 0


@pytest.mark.parametrize(
    "options",
    [
        {"defer_s": -1},
        {"deadline_s": 0},
        {"deadline_s": -1},
        {"defer_s": 1e20},
        {"deadline_s": float("inf")},
        {"defer_s": float("nan")},
        {"deadline_s": float("nan")},
    ],
)
async def test_times_that_make_no_sense_are_refused(any_queue: Queue, options: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match="neither above ten years, in seconds"):
        await any_queue.chat("hi", **options)  # type: ignore[arg-type]


async def test_the_deadline_is_the_life_of_the_job_key(any_queue: Queue) -> None:
    for job_id, options, life_ms in [
        ("a", {}, DAY_MS),
        ("b", {"deadline_s": 60}, 60_000),
        ("c", {"defer_s": 30, "deadline_s": 60}, 90_000),
        ("d", {"deadline_s": 10 * 365 * 86_400}, 3_650 * DAY_MS),
    ]:
        await any_queue.chat("hi", job_id=job_id, **options)  # type: ignore[arg-type]
        assert life_ms - 5_000 < await any_queue.redis.pttl(keys.job(job_id)) <= life_ms


async def test_the_shortest_deadline_is_a_millisecond(
    any_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "EVERY_S", 0.01)
    job = await any_queue.chat("hi", deadline_s=0.0001)
    with pytest.raises(errors.JobExpired):
        await job.result(5)


async def test_who_waits_for_a_job_that_nobody_started_in_time_is_told_so(
    any_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "EVERY_S", 0.01)
    job = await any_queue.chat("hi", deadline_s=0.02)
    with pytest.raises(errors.JobExpired, match="not started before its deadline"):
        await job.result(10)


async def test_a_job_that_runs_past_its_deadline_is_still_waited_for(any_queue: Queue) -> None:
    job = await any_queue.chat("hi", job_id="a")
    record = await any_queue.redis.get(keys.job("a"))
    await run(any_queue, "a")
    await any_queue.redis.delete(keys.job("a"))  # as the deadline does
    with pytest.raises(ResultTimeout):
        await job.result(0)
    waiting = asyncio.create_task(job.result(10))
    await any_queue.redis.set(keys.job("a"), record, px=60_000)
    await finish(any_queue, "a", "late")
    assert await waiting == "late"


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
    assert info.success == {complete: True, failed: False}.get(given)
    assert info.error == ("Slow down." if given is failed else None)


async def test_an_unknown_job_is_not_found(any_queue: Queue) -> None:
    job = any_queue.job("a")
    assert await job.status() == JobStatus.not_found
    for verb in (job.info(), job.result(5), job.result(0)):
        with pytest.raises(JobNotFound, match="There is no job 'a'"):
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
    assert await any_queue.redis.zcard(CHATS) == 0
    assert not await any_queue.redis.exists(keys.job("a"), keys.ABORTS)


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
        return bool(await any_queue.redis.zrange(keys.ABORTS, 0, -1) == [b"a"])

    await wait_until(asked, description="the abort is asked for")
    await finish(any_queue, "a", outcome)
    assert await aborting is aborted


async def test_an_abort_that_no_worker_hears_says_so_and_stays(any_queue: Queue) -> None:
    await running(any_queue)
    with pytest.raises(ResultTimeout):
        await any_queue.job("a").abort(0.01)
    assert await any_queue.redis.zrange(keys.ABORTS, 0, -1) == [b"a"]


@pytest.mark.parametrize("given", [complete, failed, unknown])
async def test_aborting_what_has_ended_or_is_unknown_writes_nothing(any_queue: Queue, given: Given) -> None:
    await given(any_queue)
    before = await any_queue.redis.keys("*")
    assert not await any_queue.job("a").abort()
    assert await any_queue.redis.keys("*") == before
    await any_queue.forget(["a"])
    await any_queue.chat("a later job of that id", job_id="a")
    assert await any_queue.job("a").status() == JobStatus.queued


async def test_a_job_that_another_program_pickled_can_be_aborted(any_queue: Queue) -> None:
    await queued(any_queue)
    await any_queue.redis.set(keys.job("a"), b"\x80\x04N.", px=1000)
    with pytest.raises(errors.Unserializable, match="is not written in JSON and is not read"):
        await any_queue.job("a").info()
    assert await any_queue.job("a").abort()


async def test_a_result_that_another_program_pickled_is_not_read(any_queue: Queue) -> None:
    await any_queue.redis.set(keys.result("a"), b"\x80\x04N.", px=1000)
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
    await any_queue.redis.set(f"{keys.QUEUE}:health-check", "ok", px=1000)
    assert await any_queue.workers_alive()
    await any_queue.ping()
