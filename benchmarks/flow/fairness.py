"""Who is made to wait by others: a key behind a blocked key's backlog, small tenants behind a large one.

When a job was answered is seen by its id in the provider's stats, looked at every LOOK_EVERY_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median
from time import monotonic

from benchmarks.options import Options
from benchmarks.report import Case, Figures
from benchmarks.stage import Stuck

from .mill import MODEL, Mill, mill
from .verdict import at_most, judged

LOOK_EVERY_S = 0.02
WORKERS, MAX_JOBS = 2, 200
ANSWER_LIMIT_S = 60.0

BLOCKED, FREE = "sim/a", "sim/b"
BLOCKED_LIMIT = 5
FREE_JOBS = 200
FREE_CALL_S = 0.5
MOST_SLOWDOWN = 1.2

TENANTS_LIMIT = 50
TENANT_CALL_S = 0.1
MOST_OF_FAIR = 1.5


async def backlog(options: Options) -> list[Case]:
    """200 jobs of a free key, alone and behind a blocked key's backlog: medians of some runs each."""
    waiting, runs = options.pick((5_000, 3), (500, 1))

    async def measure() -> Figures:
        limits = f"{BLOCKED} concurrency={BLOCKED_LIMIT}"
        async with mill(limits=limits, max_jobs=MAX_JOBS, latency_s=FREE_CALL_S) as m:
            await m.start_workers(WORKERS)
            await _time_free(m, "warm")
            alone_s = [await _time_free(m, f"alone-{run}") for run in range(runs)]
            await m.ask(waiting, model=BLOCKED)
            await m.watch(lambda now: now.open >= BLOCKED_LIMIT, ANSWER_LIMIT_S)
            beside_s = [await _time_free(m, f"beside-{run}") for run in range(runs)]
        alone, beside = median(alone_s), median(beside_s)
        return {"alone_s": alone, "beside_s": beside, "slowdown": beside / alone}

    name = (
        f"backlog: key A limited to {BLOCKED_LIMIT} with {waiting:,} waiting, then {FREE_JOBS} jobs of key B"
    )
    goal = f"B takes at most {MOST_SLOWDOWN:g} times what it takes alone"
    return [await judged(name, measure, goal, lambda found: at_most(found, "slowdown", MOST_SLOWDOWN))]


async def tenants(options: Options) -> list[Case]:
    """Small tenants behind a large one, all within one limit.

    Their fair time is that of serving tenants in turn, a job each: by the time the small ones are done, the
    large one has had as many jobs as each of them, so that it takes
    tenants * jobs of a small one * TENANT_CALL_S / TENANTS_LIMIT seconds.
    """
    count, large, small = options.pick((100, 10_000, 10), (20, 500, 10))
    fair_s = count * small * TENANT_CALL_S / TENANTS_LIMIT

    async def measure() -> Figures:
        limits = f"{MODEL} concurrency={TENANTS_LIMIT}"
        async with mill(limits=limits, max_jobs=MAX_JOBS, latency_s=TENANT_CALL_S) as m:
            await m.start_workers(WORKERS)
            await m.ask(large, tenant="large")
            started_s = monotonic()
            ids = {tenant: [f"{tenant}-{n}" for n in range(small)] for tenant in range(1, count)}
            await asyncio.gather(
                *(m.ask(small, tenant=f"small-{tenant}", job_ids=own) for tenant, own in ids.items())
            )
            enqueued_s = monotonic() - started_s
            await _until_answered(m, [id_ for own in ids.values() for id_ in own])
            wall_s, seen = monotonic() - started_s, await m.provider.counts()
        return {
            "enqueued_s": enqueued_s,
            "wall_s": wall_s,
            "fair_s": fair_s,
            "times_fair": wall_s / fair_s,
            "completed_per_s": seen.completed / seen.wall_s,
            "peak_open": seen.peak_open,
        }

    name = f"tenants: one with {large:,} jobs, then {count - 1} with {small}; a limit of {TENANTS_LIMIT}"
    goal = f"the {count - 1} finish within {MOST_OF_FAIR:g} times their fair time"
    return [await judged(name, measure, goal, lambda found: at_most(found, "times_fair", MOST_OF_FAIR))]


async def _time_free(m: Mill, run: str) -> float:
    """Seconds from enqueueing the jobs of the free key to the last of their answers."""
    ids = [f"{run}-{number}" for number in range(FREE_JOBS)]
    started_s = monotonic()
    await m.ask(FREE_JOBS, model=FREE, job_ids=ids)
    await _until_answered(m, ids)
    return monotonic() - started_s


async def _until_answered(m: Mill, ids: Sequence[str]) -> None:
    """Raises Stuck where some have no answer after ANSWER_LIMIT_S, StackError where a worker ends."""
    wanted, deadline = set(ids), monotonic() + ANSWER_LIMIT_S
    least = (await m.provider.counts()).completed + len(ids) // 2
    while True:
        now = await m.provider.counts()
        if now.completed >= least:  # the ids are many to send: not before there is a chance
            missing = wanted - (await m.provider.answers()).keys()
            if not missing:
                return
            least = now.completed + min(len(missing), len(ids) // 20)
        m.raise_if_ended()
        if monotonic() > deadline:
            raise Stuck(f"{len(ids):,} jobs were not all answered within {ANSWER_LIMIT_S:g} s.")
        await asyncio.sleep(LOOK_EVERY_S)
