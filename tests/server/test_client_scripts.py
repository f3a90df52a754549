"""The scripts themselves: bad input is an error reply, and a server that forgot them gets them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from client import JobStatus, Queue
from client.job_scripts import Scripts
from client.tickets import JobTicket
from client.wire.record import aborted_record
from tests.conftest import KEYS


def ticket(job_id: str, *, lane: str = KEYS.queue, defer_ms: int = 0) -> JobTicket:
    return JobTicket(job_id, lane, b"{}", defer_ms, 60_000)


@pytest.mark.parametrize(
    ("script", "args", "usage"),
    [
        ("_enqueue", [], "enqueue: six arguments for each job"),
        ("_enqueue", ["a", "{}", 0, 1, "q"], "enqueue: six arguments"),
        ("_enqueue", ["a", "{}", 0, 1, "q", "", "b"], "enqueue: six arguments"),
        ("_look", [], "look: a queue and an id"),
        ("_look", ["q"], "look: a queue and an id"),
        ("_abort", ["a"], "abort: three arguments"),
        ("_abort", ["a", "q", "{}", 1], "abort: three arguments"),
        ("_revive", [], "revive: an argument and two for each letter"),
        ("_revive", [1, "a"], "revive: an argument"),
    ],
)
async def test_a_wrong_number_of_arguments_is_an_error(
    any_queue: Queue, script: str, args: list[Any], usage: str
) -> None:
    redis, name = any_queue.session.redis, any_queue.session.name
    call: Callable[..., Any] = getattr(Scripts(redis, name, KEYS), script)
    with pytest.raises(ResponseError, match=usage):
        await call(args=args)
    assert await redis.dbsize() == 0


async def test_enqueue_tells_which_ids_were_new(any_queue: Queue) -> None:
    scripts = Scripts(any_queue.session.redis, any_queue.session.name, KEYS)
    assert await scripts.enqueue([ticket("a"), ticket("b"), ticket("a")]) == [True, True, False]
    assert await scripts.enqueue([ticket("b"), ticket("c")]) == [False, True]


async def test_one_call_fills_several_lanes(any_queue: Queue) -> None:
    scripts, (a, b, c) = Scripts(any_queue.session.redis, any_queue.session.name, KEYS), map(KEYS.lane, "abc")
    await scripts.enqueue([ticket("known", lane=c)])
    await any_queue.session.redis.zrem(KEYS.lanes, c)
    mixed = [
        ticket("1", lane=a, defer_ms=90_000),
        ticket("2", lane=b, defer_ms=60_000),
        ticket("3", lane=a, defer_ms=30_000),
        ticket("known", lane=c),
    ]
    assert await scripts.enqueue(mixed) == [True, True, True, False]
    for lane, ids in ((a, [b"3", b"1"]), (b, [b"2"]), (c, [b"known"])):
        assert await any_queue.session.redis.zrange(lane, 0, -1) == ids
    looks = dict(await any_queue.session.redis.zrange(KEYS.lanes, 0, -1, withscores=True))
    first_due = {lane: await any_queue.session.redis.zscore(lane, id_) for lane, id_ in ((a, "3"), (b, "2"))}
    assert {lane.decode(): at for lane, at in looks.items()} == {
        lane: int(at) for lane, at in first_due.items()
    }


async def test_a_deferred_job_is_due_by_the_clock_of_the_server(queue: Queue) -> None:
    scripts = Scripts(queue.session.redis, queue.session.name, KEYS)
    seconds, micros = await queue.session.redis.time()
    await scripts.enqueue([ticket("now"), ticket("later", defer_ms=5_000)])
    now_ms = seconds * 1000 + micros // 1000
    due_ms = [await queue.session.redis.zscore(KEYS.queue, id_) for id_ in ("now", "later")]
    assert all(
        now_ms + delay <= due <= now_ms + delay + 1_000 for due, delay in zip(due_ms, (0, 5_000), strict=True)
    )


async def test_look_tells_every_state_in_the_order_asked(any_queue: Queue) -> None:
    scripts = Scripts(any_queue.session.redis, any_queue.session.name, KEYS)
    await scripts.enqueue([ticket("queued")])
    await any_queue.session.redis.set(KEYS.in_progress("running"), b"1", px=9_000)
    await any_queue.session.redis.set(KEYS.result("done"), b"record", px=9_000)
    await any_queue.session.redis.zadd(KEYS.queue, {"expired": 1})
    await scripts.enqueue([ticket("late", lane=KEYS.lane("l"))])
    await any_queue.session.redis.delete(KEYS.job("late"))  # as the deadline does
    asked = ["done", "queued", "unknown", "running", "expired", "late", "done"]
    assert await scripts.look(asked) == [
        b"record",
        "waits or runs",
        "unknown",
        "waits or runs",
        "expired",
        "expired",
        b"record",
    ]


async def test_a_look_at_many_lost_ids_stays_short(any_queue: Queue) -> None:
    await any_queue.session.redis.zadd(KEYS.lanes, {KEYS.lane(str(n)): n for n in range(1_200)})
    await any_queue.session.redis.zadd(KEYS.lane("999"), {"seen": 1})
    await any_queue.session.redis.zadd(KEYS.lane("1000"), {"unseen": 1})
    scripts = Scripts(any_queue.session.redis, any_queue.session.name, KEYS)
    assert await scripts.look(["seen", "unseen"]) == ["expired", "unknown"]
    seen = await scripts.look([str(n) for n in range(30)])
    assert seen == ["unknown"] * 19 + ["waits or runs"] * 11  # these are told when they are asked for again


async def test_abort_tells_what_it_did(any_queue: Queue) -> None:
    scripts = Scripts(any_queue.session.redis, any_queue.session.name, KEYS)
    record = aborted_record("a", any_queue.session.name, None)
    assert await scripts.abort("a", KEYS.queue, record) == "absent"
    await scripts.enqueue([ticket("a")])
    await any_queue.session.redis.set(KEYS.in_progress("a"), b"1", px=9_000)
    assert await scripts.abort("a", KEYS.queue, record) == "asked"
    await any_queue.session.redis.delete(KEYS.in_progress("a"))
    assert await scripts.abort("a", KEYS.queue, record) == "ended"
    assert await scripts.abort("a", KEYS.queue, record) == "absent"
    assert await any_queue.session.redis.pttl(KEYS.result("a")) > 86_000_000


async def test_a_server_that_has_forgotten_the_scripts_gets_them_again(any_queue: Queue) -> None:
    for _ in range(2):
        job = await any_queue.chat("hi", job_id="a")
        assert await job.abort()
        assert await any_queue.job("a").status() == JobStatus.complete
        await any_queue.forget("a")
        await any_queue.session.redis.script_flush()
