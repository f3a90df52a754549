"""Woken at once, filled exactly, and nothing left behind."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from client import Queue, encode
from client.wire.keys import KEYS
from tests.conftest import Server, forever, wait_until
from tests.engine.rig import Engines, nothing_left_in

Ctx = dict[str, Any]


def enqueue_raw(server: Server, lane: str, *job_ids: str, function: str) -> None:
    """Jobs in a lane of their own, as a client will put them there."""
    now_ms = int(time.time() * 1000)
    with server.client() as client, client.pipeline() as pipe:
        for at, job_id in enumerate(job_ids):
            payload = encode({"t": None, "f": function, "a": [], "k": {}, "et": now_ms})
            pipe.set(KEYS.job(job_id), payload, px=60_000)
            pipe.zadd(KEYS.lane(lane), {job_id: now_ms + at / 1000})
        pipe.zadd(KEYS.lanes, {KEYS.lane(lane): now_ms}, lt=True)
        pipe.publish(KEYS.wake_channel, "")
        pipe.execute()


async def test_an_idle_worker_is_woken_and_so_is_the_caller(
    engines: Engines, server: Server, queue: Queue
) -> None:
    async def echo(ctx: Ctx, n: int) -> int:
        return n

    await engines.start(server, echo, poll_delay=30)
    took_s = []
    for n in range(10):
        began = time.perf_counter()
        assert await (await queue.enqueue("echo", n)).result(5) == n
        took_s.append(time.perf_counter() - began)
    assert sorted(took_s)[5] < 0.1, took_s


async def test_never_more_than_max_jobs_run_and_room_is_filled_again(
    engines: Engines, server: Server, queue: Queue
) -> None:
    running = peak = 0

    async def count(ctx: Ctx) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.05)
        running -= 1

    for _ in range(70):
        await queue.enqueue("count")
    began = time.monotonic()
    engine = await engines.start(server, count, max_jobs=7, poll_delay=30)
    await wait_until(lambda: engine.jobs_complete == 70, description="all have run")
    assert peak == 7
    assert time.monotonic() - began < 2.5  # 0.5 s at best; 30 s if freed room waited for the poll


async def test_lanes_are_served_in_turn(engines: Engines, server: Server) -> None:
    order: list[str] = []

    async def note(ctx: Ctx) -> None:
        order.append(ctx["job_id"][0])

    enqueue_raw(server, "big", *(f"a{n}" for n in range(200)), function="note")
    enqueue_raw(server, "small", *(f"b{n}" for n in range(5)), function="note")
    await engines.start(server, note, max_jobs=10)
    await wait_until(lambda: len(order) == 205, description="all have run")
    assert order.index("b") < 10
    assert [at for at, lane in enumerate(order) if lane == "b"][-1] < 40


async def test_a_lane_wakes_an_idle_worker(engines: Engines, server: Server, queue: Queue) -> None:
    async def hello(ctx: Ctx) -> str:
        return "hello"

    await engines.start(server, hello, poll_delay=30)
    enqueue_raw(server, "new", "first", function="hello")
    assert await queue.job("first").result(2) == "hello"


async def test_a_job_handed_back_goes_to_its_own_lane(engines: Engines, server: Server) -> None:
    started = asyncio.Event()

    async def endless(ctx: Ctx) -> None:
        started.set()
        await forever()

    engine = await engines.start(server, endless)
    enqueue_raw(server, "mine", "job", function="endless")
    await started.wait()
    await engine.close()
    with server.client() as client:
        assert client.zscore(KEYS.lane("mine"), "job") < time.time() * 1000
        assert client.zscore(KEYS.lanes, KEYS.lane("mine")) <= time.time() * 1000
        client.delete(KEYS.lane("mine"))


async def test_four_connections_are_enough_for_five_hundred_jobs(
    engines: Engines, server: Server, queue: Queue
) -> None:
    async def busy(ctx: Ctx) -> None:
        for _ in range(5):
            await ctx["redis"].get("nothing")

    for _ in range(500):
        await queue.enqueue("busy")
    with server.client() as client:
        before = len(client.client_list())
        engine = await engines.start(server, busy, max_jobs=500, lease_s=0.5)
        most = 0

        def done() -> bool:
            nonlocal most
            most = max(most, len(client.client_list()) - before)
            return engine.jobs_complete == 500

        await wait_until(done, description="all have run", timeout_s=20)
    assert 2 <= most <= 4


@pytest.mark.parametrize("jobs", [2_000])
async def test_thousands_in_flight_leave_nothing_behind(
    engines: Engines, server: Server, queue: Queue, jobs: int
) -> None:
    running, all_run = 0, asyncio.Event()

    async def together(ctx: Ctx) -> int:
        nonlocal running
        running += 1
        if running == jobs:
            all_run.set()
        await all_run.wait()
        await asyncio.sleep(1)
        return int(ctx["job_try"])

    async def after(ctx: Ctx) -> None:
        afterwards.add(ctx["job_id"])

    afterwards: set[str] = set()
    engine = await engines.start(server, together, max_jobs=jobs, after_job_end=after, lease_s=1)
    handles = await asyncio.gather(*(queue.enqueue("together") for _ in range(jobs)))
    results = await asyncio.gather(*(job.result(20) for job in handles))
    assert results == [1] * jobs
    assert afterwards == {job.id for job in handles}
    await wait_until(lambda: nothing_left_in(engine), description="nothing is held")
    await engine.close()
    with server.client() as client:
        client.delete(KEYS.lanes, KEYS.epoch, KEYS.returns)  # these go by themselves
        assert {key.rpartition(b":")[0] for key in client.scan_iter(count=1000)} == {b"arq:result"}
