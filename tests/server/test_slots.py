"""`async with limits.slot(…)`, against a real server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any

import pytest

from client import InvalidRequest, Queue, QueueUnavailable, SyncQueue, Usage, keys
from client.errors import RateLimited, SlotLost, SlotTimeout
from tests.conftest import Server, wait_until

MODEL, PROVIDER = "openai/gpt-4o", "openai"
SHORT_S = 1.0  # a lease that is renewed, or lapses, soon
AT_ONCE_S = 0.5  # far below every timer that would help a lost signal


@pytest.fixture
async def one(queue: Queue) -> AsyncIterator[Queue]:
    """A queue whose model takes one call at once. Nothing of its calls may be left."""
    await queue.limits.set(MODEL, concurrency=1)
    yield queue
    await _nothing_left(queue)


async def _count(queue: Queue, key: str) -> int:
    return int(await queue.redis.zcard(key))


async def _nothing_left(queue: Queue) -> None:
    async def is_true() -> bool:
        now_ms = time.time_ns() // 1_000_000
        counts = [await queue.redis.zcount(keys.slots(key), now_ms, "+inf") for key in (MODEL, PROVIDER)]
        return not sum(counts) and not await _count(queue, keys.blocked(MODEL))

    await wait_until(is_true, description="no call has a slot or waits")


async def _waiting(queue: Queue, count: int) -> None:
    async def are() -> bool:
        listening = await queue.redis.pubsub_numsub(queue.limits._calls.channel)
        return await _count(queue, keys.blocked(MODEL)) == count and listening[0][1] == 1

    await wait_until(are, description=f"{count} calls wait")


# -- in turn ---------------------------------------------------------------------------------------------


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
            waiting = _apart(_hold(one))
            await _waiting(one, 1)
        began_s = time.monotonic()
        await waiting
        assert time.monotonic() - began_s < AT_ONCE_S


async def test_five_hundred_wait_on_one_connection(one: Queue, server: Server) -> None:
    with server.client() as raw:
        async with one.limits.slot(MODEL):
            before = len(raw.client_list())
            calls = [_apart(_hold(one)) for _ in range(500)]
            await _waiting(one, 500)
            assert len(raw.client_list()) <= before + 2  # and perhaps the second of those for commands
        await one.limits.set(MODEL, concurrency=None)
        await asyncio.gather(*calls)


async def test_a_rate_opens_with_time_though_no_worker_lives(one: Queue) -> None:
    await one.limits.set(MODEL, concurrency=None, rpm=1200)
    await one.redis.hset(keys.flow(MODEL), mapping={"req": 0, "req_ms": time.time_ns() // 1_000_000})
    await one.redis.expire(keys.flow(MODEL), 60)
    began_s = time.monotonic()
    await asyncio.gather(*(_hold(one) for _ in range(4)))
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
    waiting = _apart(_hold(one))
    await _waiting(one, 1)
    process.kill()
    await process.wait()
    async with asyncio.timeout(SHORT_S + AT_ONCE_S):
        await waiting


# -- not for ever ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait_s", [0, 0.05])
async def test_who_has_waited_long_enough_is_told_for_what(one: Queue, wait_s: float) -> None:
    async with one.limits.slot(MODEL):
        with pytest.raises(SlotTimeout, match="openai/gpt-4o, 1 of 1 slots are in use") as caught:
            async with asyncio.timeout(5):
                await _apart(_hold(one, wait_s=wait_s))
        assert caught.value.details["key"] == MODEL


async def test_a_free_slot_needs_no_waiting(one: Queue) -> None:
    async with one.limits.slot(MODEL, wait_s=0) as slot:
        assert slot.keys == (MODEL, PROVIDER)
    assert one.limits._calls.grants._task is None


async def test_a_call_cancelled_at_any_moment_leaves_nothing_behind(one: Queue) -> None:
    async with one.limits.slot(MODEL):
        pass  # the scripts are loaded
    for step in range(40):
        calls = [_apart(_hold(one)) for _ in range(3)]
        await asyncio.sleep(step * 0.000_15)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    await _nothing_left(one)
    assert not one.limits._calls.holds._held


async def test_a_call_cancelled_while_it_gives_its_slot_back_gives_it_back(one: Queue) -> None:
    block = one.limits.slot(MODEL)
    await block.enter()
    leaving = asyncio.create_task(block.leave(None))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await _hold(one)


async def test_closing_the_queue_frees_what_was_held_and_ends_who_waits(one: Queue, server: Server) -> None:
    other = Queue.from_url(server.url)
    async with other.limits.slot(MODEL):
        waiting = _apart(_hold(other))
        await _waiting(other, 1)
        await other.close()
        with pytest.raises(QueueUnavailable):
            await waiting
    await _nothing_left(one)


# -- lost ----------------------------------------------------------------------------------------------------


async def test_a_slot_that_is_taken_away_cancels_its_block(one: Queue) -> None:
    cancelled = False

    async def call() -> None:
        nonlocal cancelled
        async with one.limits.slot(MODEL, lease_s=SHORT_S):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled = True
                raise

    calling = asyncio.create_task(call())
    await _held(one)
    assert await one.limits.evict(MODEL) == 1
    with pytest.raises(SlotLost, match="openai/gpt-4o was lost"):
        await calling
    assert cancelled
    assert calling.cancelling() == 0


async def test_a_cancellation_by_others_goes_on_though_the_slot_is_lost(one: Queue) -> None:
    async def call() -> None:
        async with one.limits.slot(MODEL, lease_s=SHORT_S):
            await asyncio.sleep(60)

    calling = asyncio.create_task(call())
    await _held(one)
    [hold] = one.limits._calls.holds._held.values()
    assert hold.lose is not None
    hold.lose()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_a_slot_outlives_many_leases_while_it_is_held(one: Queue) -> None:
    async with one.limits.slot(MODEL, lease_s=SHORT_S):
        [(_, end_ms)] = await one.redis.zrange(keys.slots(MODEL), 0, -1, withscores=True)

        async def is_renewed() -> bool:
            [(_, now_ms)] = await one.redis.zrange(keys.slots(MODEL), 0, -1, withscores=True)
            return bool(now_ms > end_ms)

        await wait_until(is_renewed, description="the slot is renewed", timeout_s=SHORT_S)


async def test_calls_go_on_over_a_restart_of_redis(own_server: Server) -> None:
    async with Queue.from_url(own_server.url) as queue:
        await queue.limits.set(MODEL, concurrency=1)
        async with queue.limits.slot(MODEL):
            waiting = _apart(_hold(queue))
            await _waiting(queue, 1)
            own_server.stop()
            own_server.start()
            await _waiting(queue, 1)
        await waiting
        await _nothing_left(queue)


async def test_slots_are_taken_back_when_redis_has_lost_its_data(one: Queue, server: Server) -> None:
    async with Queue.from_url(server.url) as other:
        await _hold(other)  # so it can tell that the data is new
        async with one.limits.slot(MODEL):
            with server.client() as raw:
                raw.flushall()
            await one.limits.set(MODEL, concurrency=1)
            with pytest.raises(SlotTimeout):
                await _apart(_hold(other, wait_s=0))
            await _held(one)


# -- what the call tells ---------------------------------------------------------------------------------------


async def test_real_use_corrects_what_was_reserved(one: Queue) -> None:
    await one.limits.set(MODEL, tpd=10_000)
    async with one.limits.slot(MODEL, tokens=900) as slot:
        slot.settle(tokens=250)
    async with one.limits.slot(MODEL, tokens=900) as slot:
        slot.settle(Usage(input_tokens=30, output_tokens=20))
    async with one.limits.slot(MODEL, tokens=100) as slot:
        slot.settle(Usage())  # unknown: it stands
    learned = await one.redis.hmget(keys.flow(MODEL), "day_tok", "out")
    assert list(map(float, learned)) == [400, 20]


@pytest.mark.parametrize("told", [True, False])
async def test_a_refusal_cools_the_model_down_for_as_long_as_was_asked(one: Queue, told: bool) -> None:
    with suppress(RateLimited):
        async with one.limits.slot(MODEL, tokens=900) as slot:
            if told:
                slot.refused(retry_after_s=30)
            else:
                raise RateLimited("429", retry_after_s=30)
    [state] = await one.limits.list(MODEL)
    assert 29 < state.cooldown_s < 34
    await one.limits.resume(MODEL)


# -- no hold and wait --------------------------------------------------------------------------------------------


async def test_who_has_a_slot_cannot_wait_for_another(one: Queue) -> None:
    async with one.limits.slot(MODEL):
        for key in (MODEL, "gpu-box"):
            with pytest.raises(InvalidRequest, match="Leave the first block"):
                await _hold(one, key)
            with pytest.raises(InvalidRequest):  # nor what it starts
                await asyncio.create_task(_hold(one, key))
    await _hold(one)
    await _hold(one)


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


# -- blocking ----------------------------------------------------------------------------------------------------


async def test_a_thread_takes_slots_too(one: Queue, server: Server) -> None:
    def call(queue: SyncQueue) -> str:
        with queue.limits.slot(MODEL, tokens=900, wait_s=5) as slot:
            slot.settle(tokens=1)
            with pytest.raises(InvalidRequest), queue.limits.slot(MODEL):
                pass
            return slot.keys[0]

    with SyncQueue.from_url(server.url) as queue:
        waits = [asyncio.to_thread(call, queue) for _ in range(3)]
        assert await asyncio.gather(*waits) == [MODEL] * 3
        async with one.limits.slot(MODEL):
            with pytest.raises(SlotTimeout):
                await asyncio.to_thread(Context().run, queue.limits.slot(MODEL, wait_s=0).__enter__)


async def test_a_thread_learns_at_the_end_that_its_slot_was_lost(one: Queue, server: Server) -> None:
    def call(queue: SyncQueue) -> None:
        with queue.limits.slot(MODEL, lease_s=SHORT_S) as slot:
            asyncio.run_coroutine_threadsafe(one.limits.evict(MODEL), loop).result()
            while not slot.lost:
                time.sleep(0.01)

    loop = asyncio.get_running_loop()
    with SyncQueue.from_url(server.url) as queue, pytest.raises(SlotLost):
        await asyncio.to_thread(call, queue)


def _apart(call: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that does not belong to the block in which it is started."""
    return asyncio.create_task(call, context=Context())


async def _hold(queue: Queue, key: str = MODEL, wait_s: float | None = None) -> None:
    async with queue.limits.slot(key, wait_s=wait_s):
        pass


async def _held(queue: Queue) -> None:
    async def is_held() -> bool:
        return await _count(queue, keys.slots(MODEL)) == 1

    await wait_until(is_held, description="a call has the slot")
