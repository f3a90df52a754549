"""Jobs of one second, many at once, one worker: how near the ideal it comes, and how large it grows.

As in throughput, the jobs are queued first and the time is from the first start to the last end.
"""

from __future__ import annotations

from .drain import drain
from .options import Options, figure, is_absent, measured
from .report import Case, Figures
from .stage import stage
from .system import System, Work

JOB_S = 1.0
LIMIT_S = 60.0
MOST_OF_IDEAL = 1.1  # 3.3 s where 3.0 are ideal
MOST_RSS_MB = 45
GOAL = f"at most 1.1 times the ideal ({3 * MOST_OF_IDEAL:.1f} s for 3,000 jobs), at most {MOST_RSS_MB} MB resident"


async def run(options: Options) -> list[Case]:
    jobs, at_once = options.pick((3_000, 1_000), (600, 200))
    cases = []
    for place, system in enumerate(options.systems()):
        figures = await measured(system.name, _measure, system, jobs, at_once)
        met = _met(figures) if place == 0 else None
        cases.append(Case(system.name, figures, GOAL if place == 0 else None, met))
    return cases + options.absences()


async def _measure(system: System, jobs: int, at_once: int) -> Figures:
    async with stage(system, jobs) as scene:
        works = [Work(number, JOB_S) for number in range(jobs)]
        drained = await drain(scene, works, concurrency=at_once, limit_s=LIMIT_S)
    return {
        "jobs": drained.jobs,
        "wall_s": drained.seconds,
        "ideal_s": jobs / at_once * JOB_S,
        "rss_mb": drained.peak_rss_bytes / 1e6,
        "worker_cpu_s": drained.worker_cpu_s,
    }


def _met(figures: Figures) -> bool | None:
    if is_absent(figures):
        return None
    within = figure(figures, "wall_s") <= MOST_OF_IDEAL * figure(figures, "ideal_s")
    return within and figure(figures, "rss_mb") <= MOST_RSS_MB
