"""renew.lua and the thread that calls it, against a real server."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ConnectionError, ResponseError

from client.redis.url import server_address
from tests.conftest import KEYS, Server, wait_until
from tests.server.test_engine_room import OTHER_LANE, Room, opened
from worker.engine.renew import Lost, Renewer
from worker.engine.scripts import Lease

GONE = Lease("gone", KEYS.queue, "mill:1:w1")


# -- the script ------------------------------------------------------------------------------------


async def test_only_the_holder_prolongs_a_lease(room: Room) -> None:
    room.put("mine", lane=OTHER_LANE)
    room.put("lost")
    mine, lost = sorted((await room.claim(lease_ms=1_000)).jobs, key=lambda job: job.lease.job_id != "mine")
    room.lapse(lost.lease)
    taken = await room.claim_one(worker="w2")
    score = room.score(KEYS.queue, "lost")
    assert await room.scripts.renew([mine.lease, lost.lease, GONE], 60_000) == [1, 0, -1]
    assert 59_000 < (room.score(OTHER_LANE, "mine") or 0) - room.now_ms() <= 60_000
    assert room.score(KEYS.queue, "lost") == score
    assert await room.finish(taken.lease)


async def test_a_lapsed_lease_that_nobody_claimed_is_prolonged(room: Room) -> None:
    room.put("a")
    job = await room.claim_one()
    room.lapse(job.lease)
    assert await room.scripts.renew([job.lease], 60_000) == [1]
    assert (await room.claim()).jobs == []


@pytest.mark.parametrize("verb", ["done", "dead", "retry", "throttled", "again", "back", "reroute"])
async def test_a_job_that_has_ended_here_is_not_prolonged(room: Room, verb: str) -> None:
    room.put("a")
    job = await room.claim_one()
    await room.finish(job.lease, verb, ttl_ms=60_000, to=OTHER_LANE if verb == "reroute" else "")
    before, score = room.dump(), room.score(KEYS.queue, "a")
    assert await room.scripts.renew([job.lease], 60_000) == [-1]
    assert (room.dump(), room.score(KEYS.queue, "a")) == (before, score)


async def test_a_job_that_has_left_its_lane_is_not_added_to_it(room: Room) -> None:
    room.put("a")
    job = await room.claim_one()
    room.raw.zrem(KEYS.queue, "a")
    assert await room.scripts.renew([job.lease], 60_000) == [1]
    assert room.score(KEYS.queue, "a") is None


async def test_a_renewal_costs_one_command_a_job(room: Room) -> None:
    room.put(*map(str, range(500)))
    leases = [job.lease for job in (await room.claim(500)).jobs]
    await room.scripts.renew(leases, 1_000)
    before = room.commands()
    assert await room.scripts.renew(leases, 1_000) == 500 * [1]
    assert room.commands() - before <= 500 + 7


@pytest.mark.parametrize("args", [[], [1_000], [1_000, "a", "lane", "t"], ["x", "a", "lane", "t", ""]])
async def test_wrong_arguments_are_refused(room: Room, args: list[str | int]) -> None:
    with pytest.raises(ResponseError, match="renew: an argument and four for each job"):
        await room.scripts._renew(args=args)
    assert room.dump() == {}


# -- the thread ------------------------------------------------------------------------------------


@asynccontextmanager
async def renewing(
    server: Server, held: dict[str, Lease], *, lease_s: float = 1
) -> AsyncIterator[tuple[Renewer, list[Lost]]]:
    lost: list[Lost] = []
    renewer = Renewer(server_address(server.url), held, lost.append, lease_s=lease_s)
    renewer.start()
    try:
        yield renewer, lost
    finally:
        await renewer.stop()


async def test_leases_are_renewed_while_the_event_loop_is_blocked(room: Room) -> None:
    room.put("a", "b")
    held = {job.lease.job_id: job.lease for job in (await room.claim(lease_ms=1_000)).jobs}
    async with renewing(room.server, held):
        time.sleep(1.6)  # noqa: ASYNC251 — a job that does not let others in, for longer than the lease
        assert (await room.claim(worker="w2")).jobs == []
    room.raw.delete(*map(KEYS.in_progress, held))


async def test_what_is_lost_is_told_on_the_loop_that_made_the_renewer(room: Room) -> None:
    room.put("a")
    job = await room.claim_one()
    room.lapse(job.lease)
    await room.claim_one(worker="w2")
    told: list[tuple[Lost, int]] = []
    renewer = Renewer(
        server_address(room.server.url),
        {"a": job.lease, "gone": GONE},
        lambda lost: told.append((lost, threading.get_ident())),
        lease_s=60,
    )
    renewer.start()
    await renewer.renew_now()
    await wait_until(lambda: bool(told), description="the loss to be told")
    await renewer.stop()
    assert told == [(Lost(taken=[job.lease], unknown=[GONE]), threading.get_ident())]


async def test_a_job_that_ends_during_the_renewal_is_not_lost(room: Room) -> None:
    room.put("a")
    job = await room.claim_one()
    held = {"a": job.lease}
    async with renewing(room.server, held, lease_s=60) as (renewer, lost):
        renew = renewer._scripts.renew

        async def ends_meanwhile(leases: list[Lease], lease_ms: int) -> list[int]:
            room.raw.delete(KEYS.in_progress("a"))
            replies = await renew(leases, lease_ms)
            held.clear()
            return replies

        renewer._scripts.renew = ends_meanwhile  # type: ignore[assignment, method-assign]
        await renewer.renew_now()
        await asyncio.sleep(0)
        assert lost == []


async def test_more_leases_than_one_script_takes_are_renewed(room: Room) -> None:
    room.put(*map(str, range(1_100)))
    held = {job.lease.job_id: job.lease for job in (await room.claim(1_100, lease_ms=1_000)).jobs}
    async with renewing(room.server, held, lease_s=60) as (renewer, lost):
        await renewer.renew_now()
    assert lost == []
    assert room.raw.zcount(KEYS.queue, room.now_ms() + 50_000, "+inf") == 1_100


@pytest.mark.parametrize("started", [True, False], ids=["started", "never started"])
async def test_a_renewer_stops_and_leaves_nothing_open(server: Server, started: bool) -> None:
    renewer = Renewer(server_address(server.url), {"gone": GONE}, lambda lost: None, lease_s=60)
    if started:
        renewer.start()
        await renewer.renew_now()
    await renewer.stop()
    await renewer.stop()
    assert not renewer._thread.is_alive()
    del renewer
    gc.collect()  # a loop or a connection left open is a ResourceWarning, and that an error


async def test_a_renewal_in_progress_does_not_outlive_the_renewer(room: Room) -> None:
    held = {"gone": GONE}
    renewer = Renewer(server_address(room.server.url), held, lambda lost: None, lease_s=60)
    entered = threading.Event()

    async def never(leases: list[Lease], lease_ms: int) -> list[int]:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    renewer._scripts.renew = never  # type: ignore[assignment, method-assign]
    renewer.start()
    waiting = asyncio.create_task(renewer.renew_now())
    await wait_until(entered.is_set, description="the renewal to begin")
    await renewer.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_renewals_go_on_after_redis_was_restarted(own_server: Server) -> None:
    async with opened(own_server) as room:
        room.put("a")
        held = {"a": (await room.claim_one()).lease}
        async with renewing(own_server, held, lease_s=0.3) as (renewer, lost):
            await renewer.renew_now()
            own_server.stop()
            with pytest.raises(ConnectionError):
                await renewer.renew_now()
            own_server.start()
            room.raw.zadd(KEYS.queue, {"a": 2})
            await wait_until(
                lambda: (room.score(KEYS.queue, "a") or 0) > 2, description="the lease to be renewed again"
            )
            assert lost == []
