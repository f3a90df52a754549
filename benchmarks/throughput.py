"""No-op jobs through one worker process: jobs a second, and what one costs the worker and Redis.

The jobs are queued before the worker starts, so that enqueueing costs it nothing. Measured is from the first
job's start to the last one's end (tally.py says how these are seen), or LIMIT_S for the slowest.
"""

from __future__ import annotations

from .drain import drain
from .options import Options, figure, is_absent, measured
from .report import Case, Figures
from .stage import stage
from .system import System, Work

CONCURRENCY = 500
LIMIT_S = 90.0
GOAL = "at least 5 times the fastest peer's jobs/s, at most 1/5 of its worker CPU per job"


async def run(options: Options) -> list[Case]:
    jobs = options.pick(20_000, 2_000)
    found = {system.name: await measured(system.name, _measure, system, jobs) for system in options.systems()}
    ours, *peers = found.items()
    cases = [Case(ours[0], ours[1], GOAL, _met(ours[1], [figures for _, figures in peers]))]
    return cases + [Case(name, figures) for name, figures in peers] + options.absences()


async def _measure(system: System, jobs: int) -> Figures:
    async with stage(system, jobs) as scene:
        works = [Work(number) for number in range(jobs)]
        drained = await drain(scene, works, concurrency=CONCURRENCY, limit_s=LIMIT_S)
    done = max(drained.jobs, 1)
    return {
        "jobs": drained.jobs,
        "seconds": drained.seconds,
        "jobs_per_s": drained.jobs / drained.seconds,
        "worker_cpu_ms_per_job": drained.worker_cpu_s * 1e3 / done,
        "redis_cpu_us_per_job": drained.redis_cpu_s * 1e6 / done,
        "redis_commands_per_job": drained.redis_commands / done,
    }


def _met(ours: Figures, peers: list[Figures]) -> bool | None:
    ran = [peer for peer in peers if not is_absent(peer)]
    if is_absent(ours) or not ran:
        return None
    fastest = max(ran, key=lambda peer: figure(peer, "jobs_per_s"))
    return (
        figure(ours, "jobs_per_s") >= 5 * figure(fastest, "jobs_per_s")
        and figure(ours, "worker_cpu_ms_per_job") <= figure(fastest, "worker_cpu_ms_per_job") / 5
    )
