"""A slot that is held, against a real server: renewed, lost, settled; and held by a thread."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import Context

import pytest

from client import InvalidRequest, Queue, SyncQueue, Usage
from client.errors import RateLimited, SlotLost, SlotTimeout
from tests.conftest import KEYS, AnyRedis, Server, forever, wait_blocking, wait_until
from tests.server.given_slots import MODEL, SHORT_S, apart, are_waiting, hold_briefly, is_held, nothing_left

# -- lost ------------------------------------------------------------------------------------------


async def test_a_slot_that_is_taken_away_cancels_its_block(one: Queue) -> None:
    cancelled = False

    async def call() -> None:
        nonlocal cancelled
        async with one.limits.slot(MODEL, lease_s=SHORT_S):
            try:
                await forever()
            except asyncio.CancelledError:
                cancelled = True
                raise

    calling = asyncio.create_task(call())
    await is_held(one)
    assert await one.limits.evict(MODEL) == 1
    with pytest.raises(SlotLost, match="openai/gpt-4o was lost"):
        await calling
    assert cancelled
    assert calling.cancelling() == 0


async def test_a_cancellation_by_others_goes_on_though_the_slot_is_lost(one: Queue) -> None:
    async def call() -> None:
        async with one.limits.slot(MODEL, lease_s=SHORT_S):
            await forever()

    calling = asyncio.create_task(call())
    await is_held(one)
    [hold] = one.limits._calls.holds._held.values()
    assert hold.lose is not None
    hold.lose()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_a_slot_outlives_many_leases_while_it_is_held(one: Queue) -> None:
    async with one.limits.slot(MODEL, lease_s=SHORT_S):
        [(_, end_ms)] = await one.session.redis.zrange(KEYS.slots(MODEL), 0, -1, withscores=True)

        async def is_renewed() -> bool:
            [(_, now_ms)] = await one.session.redis.zrange(KEYS.slots(MODEL), 0, -1, withscores=True)
            return bool(now_ms > end_ms)

        await wait_until(is_renewed, description="the slot is renewed", timeout_s=SHORT_S)


async def test_calls_go_on_over_a_restart_of_redis(own_server: Server) -> None:
    async with Queue.from_url(own_server.url) as queue:
        await queue.limits.set(MODEL, concurrency=1)
        async with queue.limits.slot(MODEL):
            waiting = apart(hold_briefly(queue))
            await are_waiting(queue, 1)
            own_server.stop()
            own_server.start()
            await are_waiting(queue, 1)
        await waiting
        await nothing_left(queue)


async def test_slots_are_taken_back_when_redis_has_lost_its_data(one: Queue, server: Server) -> None:
    async with Queue.from_url(server.url) as other:
        await hold_briefly(other)  # so it can tell that the data is new
        async with one.limits.slot(MODEL):
            with server.client() as raw:
                raw.flushall()
            await one.limits.set(MODEL, concurrency=1)
            with pytest.raises(SlotTimeout):
                await apart(hold_briefly(other, wait_s=0))
            await is_held(one)


# -- what the call tells ---------------------------------------------------------------------------


async def test_real_use_corrects_what_was_reserved(one: Queue) -> None:
    await one.limits.set(MODEL, tpd=10_000)
    async with one.limits.slot(MODEL, tokens=900) as slot:
        slot.settle(tokens=250)
    async with one.limits.slot(MODEL, tokens=900) as slot:
        slot.settle(Usage(input_tokens=30, output_tokens=20))
    async with one.limits.slot(MODEL, tokens=100) as slot:
        slot.settle(Usage())  # unknown: it stands
    redis: AnyRedis = one.session.redis
    learned = await redis.hmget(KEYS.flow(MODEL), "day_tok", "out")
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


# -- blocking --------------------------------------------------------------------------------------


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
            wait_blocking(lambda: slot.lost, description="the loss is seen")

    loop = asyncio.get_running_loop()
    with SyncQueue.from_url(server.url) as queue, pytest.raises(SlotLost):
        await asyncio.to_thread(call, queue)
