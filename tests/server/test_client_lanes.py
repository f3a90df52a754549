"""Lanes and priorities, as the client writes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from client import InvalidRequest, Job, JobStatus, Queue
from client.errors import JobExpired
from client.tickets import JobTicket
from client.wire.keys import ELSEWHERE_MS
from client.wire.record import last_record
from tests.conftest import KEYS


async def test_a_job_in_a_lane_is_found_by_its_id_alone(any_queue: Queue) -> None:
    await any_queue.chat("hi", job_id="a", lane="tenant:acme")
    await any_queue.chat("hi", job_id="b", lane="tenant:acme", defer_s=60)
    lane = KEYS.lane("@chat|tenant:acme")
    assert await any_queue.session.redis.zcard(lane) == 2
    assert await any_queue.job("a").status() == JobStatus.queued
    assert await any_queue.job("b").status() == JobStatus.deferred
    assert await any_queue.job("b").abort()
    assert await any_queue.session.redis.zcard(lane) == 1


async def test_a_head_start_decides_within_a_lane(any_queue: Queue) -> None:
    for priority in ("low", 3_600.0, "normal", "high"):
        await any_queue.enqueue("f", _job_id=str(priority), _priority=priority)
    order = await any_queue.session.redis.zrange(KEYS.lane(""), 0, -1)
    assert [id_.decode() for id_ in order] == ["3600.0", "high", "normal", "low"]


@pytest.mark.parametrize("priority", ["low", "normal", 0.0004])
async def test_jobs_keep_the_order_in_which_they_were_enqueued(any_queue: Queue, priority: Any) -> None:
    """Those of one call over its round trips, and those of one call after the other; most share their millisecond."""
    jobs = await any_queue.chat_many(["hi"] * 450, lane="a", priority=priority)
    jobs += [await any_queue.chat("hi", lane="a", priority=priority) for _ in range(50)]
    jobs += await any_queue.chat_many(["hi"] * 10, lane="a", priority=priority)
    scores = await any_queue.session.redis.zrange(KEYS.lane("@chat|a"), 0, -1, withscores=True)
    assert [id_.decode() for id_, _ in scores] == [job.id for job in jobs]
    assert len({score for _, score in scores}) == len(jobs)


async def test_a_head_start_does_not_start_a_deferred_job_early(any_queue: Queue) -> None:
    job = await any_queue.chat("hi", defer_s=60, priority="high")
    assert await job.status() == JobStatus.deferred


@pytest.mark.parametrize("priority", ["urgent", -1, float("nan"), 86_401, None])
async def test_a_priority_that_is_none_is_refused(any_queue: Queue, priority: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^A priority is low, normal, high or a head start"):
        await any_queue.chat("hi", priority=priority)  # type: ignore[arg-type]


@pytest.mark.parametrize("lane", ["", "a b", "a|b", "x" * 257, 7])
async def test_a_lane_without_a_name_is_refused(any_queue: Queue, lane: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^A lane is a name of 1 to 256 characters"):
        await any_queue.chat("hi", lane=lane)  # type: ignore[arg-type]


async def lanes(queue: Queue) -> dict[str, list[str]]:
    """Every lane and its jobs."""
    found = [name.decode() for name in await queue.session.redis.zrange(KEYS.lanes, 0, -1)]
    prefix = KEYS.lane("")
    return {
        name.removeprefix(prefix): [id_.decode() for id_ in await queue.session.redis.zrange(name, 0, -1)]
        for name in found
    }


WHERE: dict[str, Any] = {"tenant": "acme", "conversation": "42", "limits": ["gpu"], "lane": "bulk"}
PLACE = "tenant:acme|conversation:42|gpu|bulk"


async def test_a_call_goes_to_the_lane_of_its_model_and_its_limits(any_queue: Queue) -> None:
    await any_queue.chat("hi", job_id="chat", model="OpenAI/gpt-4o", **WHERE)
    await any_queue.embed("hi", job_id="embed", model="e", **WHERE)
    await any_queue.enqueue("f", _job_id="own", **{f"_{name}": value for name, value in WHERE.items()})
    await any_queue.enqueue("f", _job_id="plain")
    assert await lanes(any_queue) == {
        f"openai/gpt-4o|{PLACE}": ["chat"],
        f"@embed/e|{PLACE}": ["embed"],
        PLACE: ["own"],
        "": ["plain"],
    }
    assert await any_queue.job("chat").status() == JobStatus.queued


async def test_many_calls_go_to_the_lanes_of_their_own_models(any_queue: Queue) -> None:
    requests = [{"prompt": str(n), "model": f"p/{n % 3}"} for n in range(6)]
    jobs = await any_queue.chat_many(requests, job_ids=list("abcdef"), tenant="acme")
    assert [job.id for job in jobs] == list("abcdef")
    texts: list[str | dict[str, Any]] = [{"texts": ["hi"], "model": "p/0"}, "hi"]
    await any_queue.embed_many(texts, job_ids=["g", "h"], tenant="acme")
    found = {name: sorted(ids) for name, ids in (await lanes(any_queue)).items()}
    assert found == {
        "p/0|tenant:acme": ["a", "d", "g"],
        "p/1|tenant:acme": ["b", "e"],
        "p/2|tenant:acme": ["c", "f"],
        "@embed|tenant:acme": ["h"],
    }


async def test_calls_of_many_models_share_their_round_trips(
    any_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    enqueue = any_queue.session.scripts.enqueue

    async def counted(tickets: Sequence[JobTicket]) -> list[bool]:
        sent.append(len(tickets))
        return await enqueue(tickets)

    monkeypatch.setattr(any_queue.session.scripts, "enqueue", counted)
    await any_queue.chat_many({"prompt": "hi", "model": f"p/{n}"} for n in range(450))
    assert sent == [200, 200, 50]
    assert len(await lanes(any_queue)) == 450


async def test_a_call_that_cannot_have_a_lane_is_refused(any_queue: Queue) -> None:
    with pytest.raises(InvalidRequest, match=r"^A tenant is a name"):
        await any_queue.chat("hi", tenant="")
    assert await any_queue.session.redis.dbsize() == 0


async def test_a_record_begins_with_the_tokens_it_may_take(any_queue: Queue) -> None:
    await any_queue.chat("x" * 400, job_id="told", max_tokens=50)
    await any_queue.chat("x" * 400, job_id="untold")
    await any_queue.embed(["x" * 100, "x" * 100], job_id="embed")
    await any_queue.enqueue("f", _job_id="own", _tenant="acme")
    beginnings = {
        "told": b'{"n":104,"m":50,"t":null,"f":"chat",',
        "untold": b'{"n":104,"m":0,"t":null,"f":"chat",',
        "embed": b'{"n":50,"m":-1,"t":null,"f":"embed",',
        "own": b'{"t":null,"f":"f",',
    }
    for job_id, beginning in beginnings.items():
        record = await any_queue.session.redis.get(KEYS.job(job_id))
        assert record is not None
        assert record.startswith(beginning)


async def test_a_job_whose_deadline_passed_in_its_lane_has_expired(any_queue: Queue) -> None:
    job = await any_queue.chat("hi", tenant="acme")
    await any_queue.session.redis.delete(KEYS.job(job.id))  # as the deadline does
    for timeout_s in (0, 5):
        with pytest.raises(JobExpired) as expiry:
            await job.result(timeout_s)
    info = await job.info()
    assert (info.status, info.success, info.error) == (JobStatus.complete, False, str(expiry.value))
    assert await job.status() is JobStatus.complete


@pytest.mark.parametrize("deadline_s", [60.0, None])
@pytest.mark.parametrize("function", ["chat", "embed", "summary"])
async def test_a_job_that_expired_before_it_ran_tells_its_function_and_its_lane(
    any_queue: Queue, function: str, deadline_s: float | None
) -> None:
    given = {} if deadline_s is None else {"deadline_s": deadline_s}
    if function == "summary":
        own = {f"_{name}": value for name, value in given.items()}
        job: Job[Any] = await any_queue.enqueue("summary", "a text", _tenant="acme", **own)  # type: ignore[arg-type]
    else:
        job = await getattr(any_queue, function)("hi", model="a/m", tenant="acme", **given)
    redis = any_queue.session.redis
    await redis.delete(KEYS.job(job.id))  # as the deadline does
    with pytest.raises(JobExpired, match="not started before its deadline") as expiry:
        await job.result(5)
    info = await job.info()
    assert info.error == str(expiry.value)
    if deadline_s is None:  # of a day, a note of each would take as much room as a short prompt
        assert (info.function, await redis.exists(KEYS.last(job.id))) == ("<unknown>", 0)
        return
    lane = "tenant:acme" if function == "summary" else "a/m|tenant:acme"
    assert expiry.value.details == {"function": function, "lane": lane}
    assert info.function == function
    assert str(expiry.value).endswith(f" It waited in the lane {lane}.")
    assert 86_400 < await redis.ttl(KEYS.last(job.id)) <= 86_460


async def test_nothing_is_left_of_what_was_to_be_known_at_a_deadline(any_queue: Queue) -> None:
    job = await any_queue.chat("hi", deadline_s=60)
    assert await job.abort()
    assert await any_queue.session.redis.exists(KEYS.last(job.id)) == 0


async def test_a_job_that_expired_after_it_ran_tells_of_its_last_run(any_queue: Queue) -> None:
    job = await any_queue.chat("hi", tenant="acme")
    await any_queue.session.redis.set(
        KEYS.last(job.id), last_record("chat", "It is overloaded.", 30), px=60_000
    )
    await any_queue.session.redis.delete(KEYS.job(job.id))  # as the deadline does
    for timeout_s in (0, 5):
        with pytest.raises(
            JobExpired, match=r"in 30 attempts. The last error: It is overloaded\.$"
        ) as expiry:
            await job.result(timeout_s)
    known = {"attempts": 30, "last_error": "It is overloaded.", "function": "chat"}
    assert expiry.value.details == known
    info = await job.info()
    assert (info.status, info.function, info.error) == (JobStatus.complete, "chat", str(expiry.value))


async def test_a_job_that_moved_to_a_lane_is_due_when_its_lane_says(any_queue: Queue) -> None:
    """A plain arq client still finds it in arq's queue, where it is due in the year 9999."""
    job = await any_queue.chat("hi", tenant="acme")
    await any_queue.session.redis.zadd(KEYS.queue, {job.id: ELSEWHERE_MS})
    info = await job.info()
    assert info.status is JobStatus.queued
    assert info.due_at is not None
    assert info.due_at.year < 2100


@pytest.mark.parametrize(
    ("token", "began"),
    [(b"mill:1700000000000000:host:1", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)), (b"1", None)],
)
async def test_a_job_that_runs_past_its_deadline_is_in_progress(
    any_queue: Queue, token: bytes, began: datetime | None
) -> None:
    job = await any_queue.chat("hi")
    await any_queue.session.redis.set(KEYS.in_progress(job.id), token, px=60_000)
    await any_queue.session.redis.delete(KEYS.job(job.id))  # as the deadline does
    info = await job.info()
    assert (info.status, info.started_at, info.enqueued_at) == (JobStatus.in_progress, began, None)
    await any_queue.session.redis.set(
        KEYS.in_progress(job.id), b"ended", px=60_000
    )  # a cron job's, for a while
    assert await job.status() == JobStatus.not_found
