"""What the queue promises of enqueued jobs, their ids and their deadlines, on a real server and on the fake alike."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from client import EmbedRequest, InvalidRequest, JobStatus, Queue, ResultTimeout, errors
from client.follow import sweep
from client.tickets import HEAD_STARTS_S
from tests.conftest import KEYS
from tests.server.given_client_jobs import CHATS, finish, payload, run

DAY_MS = 86_400_000


async def test_a_chat_is_queued_as_arq_reads_it(any_queue: Queue) -> None:
    job = await any_queue.chat("hi", model="openai/m", max_tokens=5)
    record = await payload(any_queue, job.id)
    fields = {"messages": [{"role": "user", "content": "hi"}], "model": "openai/m", "max_tokens": 5}
    assert (record["f"], record["a"], record["k"]) == ("chat", [fields], {})
    head_start_ms = HEAD_STARTS_S["normal"] * 1000
    lane = KEYS.lane("openai/m")
    assert record["q"] == lane
    assert await any_queue.session.redis.zscore(lane, job.id) + head_start_ms >= record["et"]


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
    assert len({job.id for job in jobs}) == await any_queue.session.redis.zcard(CHATS) == 450
    for i in (0, 199, 200, 449):
        message = (await payload(any_queue, jobs[i].id))["a"][0]["messages"][0]
        assert message["content"] == f"prompt {i}"


async def test_all_requests_are_checked_before_the_first_is_sent(any_queue: Queue) -> None:
    with pytest.raises(InvalidRequest, match="is empty"):
        await any_queue.chat_many(["good"] * 300 + [""])
    assert await any_queue.session.redis.dbsize() == 0


async def test_no_requests_are_no_jobs(any_queue: Queue) -> None:
    assert await any_queue.chat_many([]) == []
    assert await any_queue.chat_many([], job_ids=[]) == []
    await any_queue.forget([])


async def test_an_id_is_queued_once(any_queue: Queue) -> None:
    await any_queue.chat("first", job_id="a")
    again = await any_queue.chat("second", job_id="a")
    assert again.id == "a"
    assert (await payload(any_queue, "a"))["a"][0]["messages"][0]["content"] == "first"
    assert await any_queue.session.redis.zcard(CHATS) == 1


async def test_an_id_given_twice_in_one_call_is_queued_once(any_queue: Queue) -> None:
    jobs = await any_queue.chat_many(["one", "two"], job_ids=["a", "a"])
    assert [job.id for job in jobs] == ["a", "a"]
    assert (await payload(any_queue, "a"))["a"][0]["messages"][0]["content"] == "one"


async def test_an_id_that_has_its_result_is_not_run_again(any_queue: Queue) -> None:
    await any_queue.chat("hi", job_id="a")
    await finish(any_queue, "a", "answer")
    again = await any_queue.chat("hi", job_id="a")
    assert cast(object, await again.result(5)) == "answer"
    assert await any_queue.session.redis.zcard(CHATS) == 0


async def test_an_id_is_free_again_once_it_is_forgotten(any_queue: Queue) -> None:
    for forget in (["a"], "a"):
        await any_queue.chat("hi", job_id="a")
        await finish(any_queue, "a", "answer")
        await any_queue.forget(forget)
        assert await any_queue.job("a").status() == JobStatus.not_found


async def test_an_id_that_still_runs_after_its_deadline_is_not_queued_twice(any_queue: Queue) -> None:
    await any_queue.chat("hi", job_id="a")
    await run(any_queue, "a")
    await any_queue.session.redis.delete(KEYS.job("a"))  # as the deadline does
    await any_queue.chat("hi", job_id="a")
    assert not await any_queue.session.redis.exists(KEYS.job("a"))


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
    assert await any_queue.session.redis.dbsize() == 0


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
        assert life_ms - 5_000 < await any_queue.session.redis.pttl(KEYS.job(job_id)) <= life_ms


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
    record = await any_queue.session.redis.get(KEYS.job("a"))
    await run(any_queue, "a")
    await any_queue.session.redis.delete(KEYS.job("a"))  # as the deadline does
    with pytest.raises(ResultTimeout):
        await job.result(0)
    waiting = asyncio.create_task(job.result(10))
    await any_queue.session.redis.set(KEYS.job("a"), record, px=60_000)
    await finish(any_queue, "a", "late")
    assert cast(object, await waiting) == "late"
