"""What admission costs Redis: the time in our scripts to claim and finish a job with four limit keys.

The scripts are called as the worker calls them, COUNT at a time and one after another; nothing else runs. Jobs are
1 KB, each in a lane of its model, tenant and batch, which with the provider makes four keys. All have limits that never
block (concurrency, requests a minute, a budget), reserved at the claim and settled at the finish.

Beside it what stock arq's worker, which knows no limits, costs the same server for such a job. Time in scripts and
commands is what the server says it spent in them; its CPU has the connections' work and the parsing, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import cast

from benchmarks.drain import drain
from benchmarks.options import Options, figure, is_absent, measured
from benchmarks.report import Case, Figures
from benchmarks.server import Server
from benchmarks.stage import Stuck, stage
from benchmarks.system import System, Work
from client import Limit, Queue
from client.wire.keys import KEYS
from worker.context import Meter
from worker.engine.scripts import EngineScripts, Outcome
from worker.engine.settlement import use

COUNT = 100  # jobs a claim
PAYLOAD_BYTES = 1_024
RESULT = b"x" * 300
RESULT_TTL_MS = 86_400_000
LEASE_MS, HOLD_MS = 15_000, 4_500_000
BATCHES = 10
MODEL = "sim/m"
LIMITS = {
    MODEL: Limit(concurrency=1_000_000),
    "sim": Limit(rpm=1e9),
    "tenant:*": Limit(concurrency=1_000_000),
    "batch:*": Limit(usd_total=1e6),
}
PRICES_USD = {"in_usd": "1e-06", "out_usd": "2e-06"}  # as a worker has learned them, a token
USED = Meter(called=True, tokens=300, output_tokens=40, usd=0.00035, answered=True)  # by every job
MOST_US = 70.0
MOST_GROWTH = 1.25
ARQ_LIMIT_S = 60.0


async def cost(options: Options) -> list[Case]:
    """A case for each number of lanes, medians of rounds through all of them; then stock arq."""
    counts, jobs, rounds = options.pick(((10, 100, 1_000, 10_000), 10_000, 3), ((10, 1_000), 1_000, 1))
    names = [f"cost: claim and finish, 4 limit keys, {lanes:,} lanes" for lanes in counts]
    found = [
        [await measured(name, _ours, lanes, jobs) for name, lanes in zip(names, counts, strict=True)]
        for _ in range(rounds)
    ]
    medians = [_median(runs) for runs in zip(*found, strict=True)]
    goal = f"at most {MOST_US:g} µs in scripts; at most {MOST_GROWTH:g} times that of {counts[0]} lanes"
    cases = [
        Case(name, figures, goal, _met(figures, medians[0]))
        for name, figures in zip(names, medians, strict=True)
    ]
    for arq in options.systems(only=("arq",))[1:]:
        name = "cost: stock arq, no limits"
        cases.append(Case(name, await measured(name, _arq, arq, jobs // 2)))
    return cases


def _median(runs: Sequence[Figures]) -> Figures:
    """Of each figure; where a run has failed, its reason."""
    failed = next((figures for figures in runs if is_absent(figures)), None)
    return failed or {name: median(figure(figures, name) for figures in runs) for name in runs[0]}


async def _ours(lanes: int, jobs: int) -> Figures:
    with TemporaryDirectory(prefix="bench-") as directory:
        server = await Server.start(Path(directory))
        try:
            async with Queue.from_url(server.url) as queue:
                await queue.limits.seed(LIMITS)
                await cast(Awaitable[int], queue.session.redis.hset(KEYS.flow(MODEL), mapping=PRICES_USD))
                await _fill(queue, lanes, jobs)
                return {"lanes": lanes, "jobs": jobs} | await _drain(server, queue, jobs)
        finally:
            await server.stop()


async def _drain(server: Server, queue: Queue, jobs: int) -> Figures:
    """Claims and finishes all jobs."""
    scripts, done = EngineScripts(queue.session.redis, KEYS), 0
    before = await server.reading()
    while done < jobs:
        claim = await scripts.claim(KEYS.queue, "bench", want=COUNT, lease_ms=LEASE_MS, hold_ms=HOLD_MS)
        if not claim.jobs:
            raise Stuck(f"A claim brought nothing after {done} of {jobs} jobs.")
        accepted = await scripts.finish(
            [
                Outcome(job.lease, "done", RESULT, RESULT_TTL_MS, use=use(job, USED, "done"))
                for job in claim.jobs
            ]
        )
        if not all(accepted):
            raise Stuck("A job that was claimed could not be finished.")
        done += len(claim.jobs)
    after = await server.reading()
    return {
        "redis_us_per_job": (after.script_us - before.script_us) / done,
        "redis_cpu_us_per_job": (after.cpu_s - before.cpu_s) * 1e6 / done,
    }


async def _fill(queue: Queue, lanes: int, jobs: int) -> None:
    each = [{"prompt": "x" * PAYLOAD_BYTES, "model": MODEL}] * (jobs // lanes)
    calls = (
        queue.chat_many(each, tenant=str(lane), limits=[f"batch:{lane % BATCHES}"]) for lane in range(lanes)
    )
    while group := list(islice(calls, COUNT)):
        await asyncio.gather(*group)


async def _arq(system: System, jobs: int) -> Figures:
    async with stage(system, jobs) as scene:
        works = [Work(number, text="x" * PAYLOAD_BYTES) for number in range(jobs)]
        drained = await drain(scene, works, concurrency=COUNT, limit_s=ARQ_LIMIT_S)
    done = max(drained.jobs, 1)
    return {
        "jobs": drained.jobs,
        "redis_us_per_job": drained.redis_command_us / done,
        "redis_cpu_us_per_job": drained.redis_cpu_s * 1e6 / done,
    }


def _met(figures: Figures, few: Figures) -> bool | None:
    if is_absent(figures) or is_absent(few):
        return None
    us = figure(figures, "redis_us_per_job")
    return us <= MOST_US and us <= MOST_GROWTH * figure(few, "redis_us_per_job")
