"""The scripts themselves: bad input is an error reply, and a server that forgot them gets them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from client import JobStatus, Queue, keys
from client.scripts import Scripts
from client.tickets import Ticket, aborted_record


def ticket(job_id: str, *, defer_ms: int = 0) -> Ticket:
    return Ticket(job_id, b"{}", defer_ms, 60_000)


@pytest.mark.parametrize(
    ("script", "names", "args", "usage"),
    [
        ("_enqueue", ["q"], [], "enqueue: one key and two arguments, then three keys and four arguments"),
        ("_enqueue", ["q", "j", "r"], ["q", "w", "a", "{}", 0, 1], "enqueue: one key"),
        ("_enqueue", ["q", "j", "r", "p"], ["q", "w", "a", "{}", 0], "enqueue: one key"),
        ("_enqueue", ["q", "j", "r", "p"], ["q", "w", *["a", "{}", 0, 1] * 2], "enqueue: one key"),
        ("_look", ["q"], [], "look: a queue, then three keys and one argument"),
        ("_look", ["q", "r", "j"], ["a"], "look: a queue"),
        ("_abort", ["j", "p", "q", "a"], ["a", "{}", 1, "c", "w"], "abort: five keys and five arguments"),
        ("_abort", ["j", "p", "q", "a", "r"], ["a"], "abort: five keys and five arguments"),
    ],
)
async def test_a_wrong_number_of_arguments_is_an_error(
    any_queue: Queue, script: str, names: list[str], args: list[Any], usage: str
) -> None:
    call: Callable[..., Any] = getattr(Scripts(any_queue.redis, any_queue.name), script)
    with pytest.raises(ResponseError, match=usage):
        await call(names, args)
    assert await any_queue.redis.dbsize() == 0


async def test_enqueue_tells_which_ids_were_new(any_queue: Queue) -> None:
    scripts = Scripts(any_queue.redis, any_queue.name)
    assert await scripts.enqueue(keys.QUEUE, [ticket("a"), ticket("b"), ticket("a")]) == [True, True, False]
    assert await scripts.enqueue(keys.QUEUE, [ticket("b"), ticket("c")]) == [False, True]


async def test_a_deferred_job_is_due_by_the_clock_of_the_server(queue: Queue) -> None:
    scripts = Scripts(queue.redis, queue.name)
    seconds, micros = await queue.redis.time()
    await scripts.enqueue(keys.QUEUE, [ticket("now"), ticket("later", defer_ms=5_000)])
    now_ms = seconds * 1000 + micros // 1000
    due_ms = [await queue.redis.zscore(keys.QUEUE, id_) for id_ in ("now", "later")]
    assert all(
        now_ms + delay <= due <= now_ms + delay + 1_000 for due, delay in zip(due_ms, (0, 5_000), strict=True)
    )


async def test_look_tells_every_state_in_the_order_asked(any_queue: Queue) -> None:
    scripts = Scripts(any_queue.redis, any_queue.name)
    await scripts.enqueue(keys.QUEUE, [ticket("queued")])
    await any_queue.redis.set(keys.in_progress("running"), b"1", px=9_000)
    await any_queue.redis.set(keys.result("done"), b"record", px=9_000)
    await any_queue.redis.zadd(keys.QUEUE, {"expired": 1})
    asked = ["done", "queued", "unknown", "running", "expired", "done"]
    assert await scripts.look(asked) == [
        b"record",
        "waits or runs",
        "unknown",
        "waits or runs",
        "expired",
        b"record",
    ]


async def test_abort_tells_what_it_did(any_queue: Queue) -> None:
    scripts = Scripts(any_queue.redis, any_queue.name)
    record = aborted_record("a", any_queue.name, None)
    assert await scripts.abort("a", keys.QUEUE, record) == "absent"
    await scripts.enqueue(keys.QUEUE, [ticket("a")])
    await any_queue.redis.set(keys.in_progress("a"), b"1", px=9_000)
    assert await scripts.abort("a", keys.QUEUE, record) == "asked"
    await any_queue.redis.delete(keys.in_progress("a"))
    assert await scripts.abort("a", keys.QUEUE, record) == "ended"
    assert await scripts.abort("a", keys.QUEUE, record) == "absent"
    assert await any_queue.redis.pttl(keys.result("a")) > 86_000_000


async def test_a_server_that_has_forgotten_the_scripts_gets_them_again(any_queue: Queue) -> None:
    for _ in range(2):
        job = await any_queue.chat("hi", job_id="a")
        assert await job.abort()
        assert await any_queue.job("a").status() == JobStatus.complete
        await any_queue.forget("a")
        await any_queue.redis.script_flush()
