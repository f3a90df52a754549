"""A limit on concurrency under a crowd, and while workers die. The ideal is jobs * CALL_S / LIMIT seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from time import time

from benchmarks.options import Options
from benchmarks.report import Case, Figures
from benchmarks.stage import Stuck
from client.queue import ChatJob
from client.wire.keys import KEYS

from .mill import MODEL, Mill, endings, mill
from .provider import Counts
from .verdict import at_least, at_most, judged

LIMIT = 50
LIMITS = f"{MODEL} concurrency={LIMIT}"
CALL_S = 0.5
MAX_JOBS = 200
AFTER = 200  # jobs of the second run, after the killing
RESULT_LIMIT_S = 20.0  # longer than the lease: who waits for a dead worker's job waits for that
CROWD_PERCENT, KILLED_PERCENT = 97.0, 85.0  # of the ideal throughput


async def crowd(options: Options) -> list[Case]:
    """Many workers, each with more places than the limit, and one key."""
    workers, jobs = options.pick((6, 3_000), (2, 200))

    async def measure() -> Figures:
        async with mill(limits=LIMITS, max_jobs=MAX_JOBS, latency_s=CALL_S) as m:
            await m.start_workers(workers)
            asked = await m.ask(jobs)
            seen = await m.watch(lambda now: now.completed >= jobs, 4 * _ideal_s(jobs) + 10)
            return await _figures(m, asked) | {"places_taken_percent": _taken_percent(seen, jobs)}

    def meets(figures: Figures) -> bool:
        return (
            at_most(figures, "peak_open", LIMIT)
            and at_least(figures, "throughput_percent", CROWD_PERCENT)
            and figures["answered"] == jobs
        )

    name = f"crowd: {workers} workers of {MAX_JOBS}, a limit of {LIMIT}, {jobs:,} jobs of {CALL_S:g} s"
    goal = f"peak at most {LIMIT}; at least {CROWD_PERCENT:g} % of the ideal throughput; all answered"
    return [await judged(name, measure, goal, meets)]


async def killed(options: Options) -> list[Case]:
    """The same while workers are killed, one after another. `paid_twice` are jobs that the provider answered
    more often than once: their worker died between the answer and its record."""
    workers, jobs, lease_s, kill_every_s = options.pick((6, 6_400, 10.0, 15.0), (2, 300, 1.0, 2.0))

    async def measure() -> Figures:
        async with mill(limits=LIMITS, max_jobs=MAX_JOBS, lease_s=lease_s, latency_s=CALL_S) as m:
            await m.start_workers(workers)
            async with _killing(m, kill_every_s) as kills:
                asked = await m.ask(jobs)
                limit_s = 3 * _ideal_s(jobs) + 2 * lease_s
                await m.watch(lambda now: now.completed >= jobs, limit_s)
            figures, paid = await _figures(m, asked), await m.provider.answers()
            return figures | {
                "workers_killed": len(kills),
                "paid_twice": sum(count > 1 for count in paid.values()),
                "slots_missing": await _slots_held(m),
                "peak_open_after": await _peak_after(m),
            }

    def meets(figures: Figures) -> bool:
        return (
            at_most(figures, "peak_open", LIMIT)
            and at_least(figures, "throughput_percent", KILLED_PERCENT)
            and (figures["answered"], figures["slots_missing"]) == (jobs, 0)
            and figures["peak_open_after"] == LIMIT
        )

    name = (
        f"killed: the same, a lease of {lease_s:g} s, a worker killed and replaced every {kill_every_s:g} s"
    )
    goal = (
        f"peak at most {LIMIT}; at least {KILLED_PERCENT:g} % of the ideal throughput; all answered; "
        "no slot missing afterwards"
    )
    return [await judged(name, measure, goal, meets)]


def _taken_percent(seen: Sequence[Counts], jobs: int) -> float:
    """How much of the limit is in use at the provider, on the average of the samples between a tenth and nine tenths.

    The rest of what is missing to the ideal throughput is time that the provider's calls take beyond CALL_S.
    """
    busy = [now.open for now in seen if jobs / 10 <= now.completed <= 9 * jobs / 10]
    return 100 * sum(busy) / len(busy) / LIMIT if busy else 0.0


def _ideal_s(jobs: int) -> float:
    return jobs * CALL_S / LIMIT


async def _figures(m: Mill, asked: Sequence[ChatJob]) -> Figures:
    """Once all have a result: as many answers as jobs are not an answer for each, where some were given twice."""
    ended = await endings(asked, RESULT_LIMIT_S)
    seen, jobs = await m.provider.counts(), len(asked)
    return {
        "jobs": jobs,
        "answered": ended.answered,
        "peak_open": seen.peak_open,
        "wall_s": seen.wall_s,
        "ideal_s": _ideal_s(jobs),
        "throughput_percent": 100 * _ideal_s(jobs) / seen.wall_s if ended.answered == jobs else None,
    }


@asynccontextmanager
async def _killing(m: Mill, every_s: float) -> AsyncIterator[list[float]]:
    """Kills the oldest worker and starts another, again and again; gives the times, Unix seconds."""
    kills: list[float] = []

    async def kill() -> None:
        while True:
            await asyncio.sleep(every_s)
            m.replace_oldest()
            kills.append(time())

    killer = asyncio.create_task(kill())
    try:
        yield kills
    finally:
        killer.cancel()
        with suppress(asyncio.CancelledError):
            await killer


async def _slots_held(m: Mill) -> int:
    """Slots with a lease that has not lapsed, now that nothing runs."""
    await asyncio.sleep(1)
    seconds, micros = await m.queue.session.redis.time()
    held: int = await m.queue.session.redis.zcount(
        KEYS.slots(MODEL), f"({seconds * 1000 + micros // 1000}", "+inf"
    )
    return held


async def _peak_after(m: Mill) -> int:
    """The peak of another run: the limit, if every slot is there again."""
    await m.provider.reset()
    await m.ask(AFTER)
    seen = await m.watch(lambda now: now.completed >= AFTER, 4 * _ideal_s(AFTER) + 10)
    if seen[-1].completed < AFTER:
        raise Stuck(f"After the killing, {seen[-1].completed} of {AFTER} jobs were done.")
    return seen[-1].peak_open
