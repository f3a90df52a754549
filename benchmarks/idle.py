"""A worker whose jobs all sleep, and nothing else to do: CPU and Redis commands, over some seconds.

The worker has room for more jobs, as a full one looks for none. Ours beside stock arq.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from .options import Options, figure, is_absent, measured
from .report import Case, Figures
from .stage import stage
from .system import System, Work

ROOM = 500  # places beyond the jobs in flight
LONG_S = 250.0  # less than arq's default limit
FILL_LIMIT_S = 60.0
REST_S = 2.0  # after the last start, before the first reading
MOST_CPU_PERCENT = 2.0
MOST_GROWTH_POINTS = 1.0  # what renewing the leases may add
SYSTEMS = ("arq",)


async def run(options: Options) -> list[Case]:
    counts, watch_s = options.pick(((0, 500, 1_000, 5_000), 15.0), ((0, 200), 3.0))
    cases: list[Case] = []
    for place, system in enumerate(options.systems(only=SYSTEMS)):
        empty: Figures = {}
        for count in counts:
            label = f"{system.name}, {count:,} in flight"
            figures = await measured(
                label,
                _measure,
                system,
                count,
                watch_s,
            )
            empty = empty or figures
            goal, met = _judged(count, figures, empty) if place == 0 else (None, None)
            cases.append(Case(label, figures, goal, met))
    return cases + options.absences(only=SYSTEMS)


async def _measure(system: System, count: int, watch_s: float) -> Figures:
    async with stage(system, count + 1) as scene:
        worker = scene.start_worker(count + ROOM)
        await scene.warm(count)
        await scene.client.enqueue([Work(number, LONG_S) for number in range(count)])
        await scene.until(lambda: scene.tally.started() > count, FILL_LIMIT_S)
        await asyncio.sleep(REST_S)
        started_at, cpu_s, before = monotonic(), worker.cpu_s(), await scene.server.reading()
        await asyncio.sleep(watch_s)
        after, spent_s, seconds = (
            await scene.server.reading(),
            worker.cpu_s() - cpu_s,
            monotonic() - started_at,
        )
        return {
            "in_flight": scene.tally.started() - scene.tally.ended(),
            "worker_cpu_percent": spent_s / seconds * 100,
            "redis_commands_per_s": (after.commands - before.commands) / seconds,
            "redis_cpu_percent": (after.cpu_s - before.cpu_s) / seconds * 100,
        }


def _judged(count: int, figures: Figures, empty: Figures) -> tuple[str | None, bool | None]:
    """The goal for ours at this count, and whether it is met."""
    if count == 0 or is_absent(figures) or is_absent(empty):
        return None, None
    cpu_percent = figure(figures, "worker_cpu_percent")
    if count <= 1_000:
        return f"under {MOST_CPU_PERCENT:g} % of a core", cpu_percent < MOST_CPU_PERCENT
    goal = f"at most {MOST_GROWTH_POINTS:g} point above none in flight (the lease renewals)"
    return goal, cpu_percent <= figure(empty, "worker_cpu_percent") + MOST_GROWTH_POINTS
