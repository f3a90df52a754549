"""`async with limits.slot(…)`, against a real server: who waits, for how long, and for what."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any

import pytest

from client import InvalidRequest, Queue, QueueUnavailable
from client.errors import SlotTimeout
from tests.conftest import KEYS, AnyRedis, Server
from tests.server.given_slots import (
    AT_ONCE_S,
    MODEL,
    PROVIDER,
    SHORT_S,
    apart,
    are_waiting,
    hold_briefly,
    nothing_left,
)

# -- in turn ---------------------------------------------------------------------------------------


async def test_a_fan_out_of_five_under_a_limit_of_one_completes_in_order(one: Queue) -> None:
    order: list[int] = []
    most = now = 0

    async def call(number: int) -> None:
        nonlocal most, now
        async with one.limits.slot(MODEL, tokens=900, wait_s=10):
            now += 1
            most = max(most, now)
            order.append(number)
            await asyncio.sleep(0.005)
            now -= 1

    began_s = time.monotonic()
    await asyncio.gather(*map(call, range(5)))
    assert (order, most) == ([0, 1, 2, 3, 4], 1)
    assert time.monotonic() - began_s < AT_ONCE_S


async def test_a_release_starts_the_next_call_of_another_process_at_once(one: Queue, server: Server) -> None:
    async with Queue.from_url(server.url) as other:
        async with other.limits.slot(MODEL):
            waiting = apart(hold_briefly(one))
            await are_waiting(one, 1)
        began_s = time.monotonic()
        await waiting
        assert time.monotonic() - began_s < AT_ONCE_S


async def test_five_hundred_wait_on_one_connection(one: Queue, server: Server) -> None:
    with server.client() as raw:
        async with one.limits.slot(MODEL):
            before = len(raw.client_list())
            calls = [apart(hold_briefly(one)) for _ in range(500)]
            await are_waiting(one, 500)
            assert len(raw.client_list()) <= before + 2  # and perhaps the second of those for commands
        await one.limits.set(MODEL, concurrency=None)
        await asyncio.gather(*calls)


async def test_a_rate_opens_with_time_though_no_worker_lives(one: Queue) -> None:
    await one.limits.set(MODEL, concurrency=None, rpm=1200)
    redis: AnyRedis = one.session.redis
    await redis.hset(KEYS.flow(MODEL), mapping={"req": 0, "req_ms": time.time_ns() // 1_000_000})
    await one.session.redis.expire(KEYS.flow(MODEL), 60)
    began_s = time.monotonic()
    await asyncio.gather(*(hold_briefly(one) for _ in range(4)))
    assert 0.15 < time.monotonic() - began_s < 1  # one each 50 ms


async def test_a_killed_process_holds_its_slot_until_it_lapses(one: Queue, server: Server) -> None:
    code = f"""
import asyncio
from client import Queue

async def main():
    async with Queue.from_url({server.url!r}) as queue, queue.limits.slot({MODEL!r}, lease_s={SHORT_S}):
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    waiting = apart(hold_briefly(one))
    await are_waiting(one, 1)
    process.kill()
    await process.wait()
    async with asyncio.timeout(SHORT_S + AT_ONCE_S):
        await waiting


# -- not for ever ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wait_s", [0, 0.05])
async def test_who_has_waited_long_enough_is_told_for_what(one: Queue, wait_s: float) -> None:
    async with one.limits.slot(MODEL):
        with pytest.raises(SlotTimeout, match="openai/gpt-4o, 1 of 1 slots are in use") as caught:
            async with asyncio.timeout(5):
                await apart(hold_briefly(one, wait_s=wait_s))
        assert caught.value.details["key"] == MODEL


async def test_a_free_slot_needs_no_waiting(one: Queue) -> None:
    async with one.limits.slot(MODEL, wait_s=0) as slot:
        assert slot.keys == (MODEL, PROVIDER)
    assert one.limits._calls.grants._task is None


async def test_a_call_cancelled_at_any_moment_leaves_nothing_behind(one: Queue) -> None:
    async with one.limits.slot(MODEL):
        pass  # the scripts are loaded
    for step in range(40):
        calls = [apart(hold_briefly(one)) for _ in range(3)]
        await asyncio.sleep(step * 0.000_15)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    await nothing_left(one)
    assert not one.limits._calls.holds._held


async def test_a_call_cancelled_while_it_gives_its_slot_back_gives_it_back(one: Queue) -> None:
    block = one.limits.slot(MODEL)
    await block.enter()
    leaving = asyncio.create_task(block.leave(None))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await hold_briefly(one)


async def test_closing_the_queue_frees_what_was_held_and_ends_who_waits(one: Queue, server: Server) -> None:
    other = Queue.from_url(server.url)
    async with other.limits.slot(MODEL):
        waiting = apart(hold_briefly(other))
        await are_waiting(other, 1)
        await other.close()
        with pytest.raises(QueueUnavailable):
            await waiting
    await nothing_left(one)


# -- no hold and wait ------------------------------------------------------------------------------


async def test_who_has_a_slot_cannot_wait_for_another(one: Queue) -> None:
    async with one.limits.slot(MODEL):
        for key in (MODEL, "gpu-box"):
            with pytest.raises(InvalidRequest, match="Leave the first block"):
                await hold_briefly(one, key)
            with pytest.raises(InvalidRequest):  # nor what it starts
                await asyncio.create_task(hold_briefly(one, key))
    await hold_briefly(one)
    await hold_briefly(one)


async def test_keys_that_the_running_job_holds_are_not_taken_again(one: Queue) -> None:
    async with one.limits.slot(MODEL):
        view = one.limits.under((MODEL, PROVIDER))
        async with view.slot(MODEL, tokens=900) as slot:
            slot.settle(tokens=1)
            assert slot.keys == ()
        with pytest.raises(InvalidRequest):
            async with view.slot(MODEL, "gpu-box"):
                pass


@pytest.mark.parametrize(
    ("names", "more"),
    [
        (("a b",), {}),
        (("openai/a", "openai/b"), {}),
        (("a",), {"tokens": -1}),
        (("a",), {"tokens": 1.5}),
        (("a",), {"wait_s": -1}),
        (("a",), {"lease_s": 0}),
    ],
)
async def test_what_cannot_be_a_slot_is_refused(fake_queue: Queue, names: Any, more: Any) -> None:
    with pytest.raises(InvalidRequest):
        fake_queue.limits.slot(*names, **more)


async def test_a_model_goes_first_and_brings_its_provider(one: Queue) -> None:
    async with one.limits.slot("tenant:acme", "OpenAI/gpt-4o", "tenant:acme") as slot:
        assert slot.keys == (MODEL, PROVIDER, "tenant:acme")
