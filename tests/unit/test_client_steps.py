"""Sending much at once lets others have their turns, by the processor's time, which a busy machine cannot spoil."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from itertools import count
from time import thread_time
from typing import Any

import pytest

from client import InvalidRequest, Queue, steps
from client.job_scripts import Scripts
from client.wire.schemas import MAX_MESSAGES, MAX_PROMPT_BYTES

MOST_S = 0.05


async def longest_step_s(work: Awaitable[Any]) -> float:
    """The longest time between two turns of the event loop while `work` is done."""
    task = asyncio.ensure_future(work)
    longest_s, before_s = 0.0, thread_time()
    while not task.done():
        await asyncio.sleep(0)
        now_s = thread_time()
        longest_s, before_s = max(longest_s, now_s - before_s), now_s
    await task
    return longest_s


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What reaches the server, a portion an entry, without the server's own time, which is spent elsewhere."""
    portions: list[int] = []

    async def enqueue(_: Scripts, tickets: list[Any]) -> None:
        portions.append(len(tickets))
        await asyncio.sleep(0)

    monkeypatch.setattr(Scripts, "enqueue", enqueue)
    return portions


Call = Callable[[Queue, int], Awaitable[Any]]
MANY: list[tuple[str, Call]] = [
    ("a generator", lambda queue, most: queue.chat_many(f"{n} " + "x" * 500 for n in range(most))),
    (
        "a list",
        lambda queue, most: queue.chat_many(
            [f"{n}" for n in range(most)], job_ids=list(map(str, range(most)))
        ),
    ),
    (
        "dicts",
        lambda queue, most: queue.chat_many([{"prompt": f"{n}", "metadata": {"n": n}} for n in range(most)]),
    ),
    ("texts", lambda queue, most: queue.embed_many([f"{n}"] for n in range(most))),
]
ONE: list[tuple[str, Call]] = [
    ("a prompt", lambda queue, _: queue.chat("x" * 8_000_000)),
    ("another script", lambda queue, _: queue.chat("ü\n" * 2_000_000)),
    ("turns", lambda queue, _: queue.chat([{"role": "user", "content": "x"}] * MAX_MESSAGES)),
    ("short texts", lambda queue, _: queue.embed(["ab"] * 500_000)),
    ("numbers", lambda queue, _: queue.chat("x", metadata={"n": list(range(500_000))})),
]


@pytest.mark.parametrize("call", [call for _, call in (*MANY, *ONE)], ids=[name for name, _ in (*MANY, *ONE)])
async def test_the_event_loop_goes_on_meanwhile(fake_queue: Queue, sent: list[int], call: Call) -> None:
    gc.collect()
    gc.freeze()  # what the tests themselves have in memory is not walked through
    try:
        found_s = await longest_step_s(call(fake_queue, 50_000))
        if found_s >= MOST_S:  # once more, as what is used for the first time is read from the disk
            found_s = await longest_step_s(call(fake_queue, 50_000))
    finally:
        gc.unfreeze()
    assert found_s < MOST_S
    assert sum(sent) in (1, 2, 50_000, 100_000)


@pytest.mark.parametrize("call", [call for _, call in MANY], ids=[name for name, _ in MANY])
async def test_others_have_their_turns_as_often_as_the_clock_says(
    fake_queue: Queue, sent: list[int], monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """By a clock on which each part of a prompt's work lasts a third of a step."""
    looks = count(step=steps.STEP_S / 3)
    monkeypatch.setattr(steps, "perf_counter", lambda: next(looks))
    task, turns = asyncio.ensure_future(call(fake_queue, 1_000)), 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert len(await task) == 1_000
    assert turns >= 1_000  # four parts a prompt, and a look at the clock after each turn


HUGE = "x" * (20 * MAX_PROMPT_BYTES)


@pytest.mark.parametrize(
    "call",
    [
        lambda queue, _: queue.chat(HUGE),
        lambda queue, _: queue.chat([{"role": "user", "content": [{"type": "text", "text": HUGE}]}]),
        lambda queue, _: queue.chat("x", metadata={"x": HUGE}),
        lambda queue, _: queue.embed([HUGE]),
        lambda queue, _: queue.enqueue("f", {"x": [HUGE]}),
        lambda queue, _: queue.chat([{"role": "user", "content": "x"}] * 300_000),
    ],
)
async def test_what_is_far_too_large_is_refused_at_once(
    fake_queue: Queue, sent: list[int], call: Call
) -> None:
    with pytest.raises(InvalidRequest, match="at most"):
        await longest_step_s(call(fake_queue, 1))
    began_s = thread_time()
    with pytest.raises(InvalidRequest, match="at most"):
        await call(fake_queue, 1)
    assert thread_time() - began_s < MOST_S
    assert sent == []


async def test_a_bad_one_among_many_is_named_and_nothing_is_sent(fake_queue: Queue, sent: list[int]) -> None:
    with pytest.raises(InvalidRequest, match="the user message is empty"):
        await fake_queue.chat_many(["good"] * 1_000 + [""])
    with pytest.raises(InvalidRequest, match=r"^messages\.1700: the user message is empty"):
        await fake_queue.chat([{"role": "user", "content": "x" * (n != 1_700)} for n in range(3_000)])
    with pytest.raises(InvalidRequest, match="There are 2 requests but 1 job ids"):
        await fake_queue.chat_many(["a", "b"], job_ids=["1"])
    assert sent == []
