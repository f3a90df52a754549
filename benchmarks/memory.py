"""What a queued job takes in Redis beyond its payload, and a job in flight in the worker.

Redis: memory in use, without the connections' buffers, before and after enqueueing jobs of 1 KB.
The worker: its resident memory with nothing in flight and with many sleeping jobs, so without the
systems that would need a thread for each.
"""

from __future__ import annotations

import asyncio

from .options import Options, figure, is_absent, measured
from .report import Case, Figures
from .stage import stage
from .system import System, Work

TEXT_BYTES = 1_024
SLEEP_S = 250.0
FILL_LIMIT_S = 60.0
SETTLE_S = 1.0
MOST_QUEUED_BYTES = 2_560
MOST_IN_FLIGHT_BYTES = 30 * 1_024
QUEUED_GOAL = "at most 2.5 KB of Redis per queued job beyond its payload"
IN_FLIGHT_GOAL = "at most 30 KB resident per job in flight"


async def run(options: Options) -> list[Case]:
    queued, in_flight = options.pick((10_000, 5_000), (1_000, 500))
    cases: list[Case] = []
    for place, system in enumerate(options.systems()):
        label = f"{system.name}, queued"
        figures = await measured(label, _queued, system, queued)
        cases.append(_case(label, figures, place, "redis_bytes_per_job", QUEUED_GOAL, MOST_QUEUED_BYTES))
    for place, system in enumerate(options.systems(with_threads=False)):
        label = f"{system.name}, in flight"
        figures = await measured(label, _in_flight, system, in_flight)
        cases.append(_case(label, figures, place, "rss_bytes_per_job", IN_FLIGHT_GOAL, MOST_IN_FLIGHT_BYTES))
    return cases + options.absences()


def _case(label: str, figures: Figures, place: int, name: str, goal: str, most: int) -> Case:
    """A case with its goal where the system is ours, the first."""
    if place > 0:
        return Case(label, figures)
    return Case(label, figures, goal, None if is_absent(figures) else figure(figures, name) <= most)


async def _queued(system: System, jobs: int) -> Figures:
    async with stage(system, jobs + 1) as scene:
        await scene.client.enqueue_one(Work(jobs, 0.0, "x" * TEXT_BYTES))  # scripts, groups, connections
        before = (await scene.server.reading()).memory_bytes
        await scene.client.enqueue([Work(number, 0.0, "x" * TEXT_BYTES) for number in range(jobs)])
        after = (await scene.server.reading()).memory_bytes
    return {
        "jobs": jobs,
        "payload_bytes": TEXT_BYTES,
        "redis_bytes_per_job": (after - before) / jobs - TEXT_BYTES,
    }


async def _in_flight(system: System, jobs: int) -> Figures:
    async with stage(system, jobs + 1) as scene:
        worker = scene.start_worker(jobs + 1)
        await scene.warm(jobs)
        await asyncio.sleep(SETTLE_S)
        empty_bytes = worker.rss_bytes()
        await scene.client.enqueue([Work(number, SLEEP_S) for number in range(jobs)])
        await scene.until(lambda: scene.tally.started() > jobs, FILL_LIMIT_S)
        await asyncio.sleep(SETTLE_S)
        in_flight = scene.tally.started() - scene.tally.ended()
        grown_bytes = worker.rss_bytes() - empty_bytes
    return {
        "in_flight": in_flight,
        "empty_rss_mb": empty_bytes / 1e6,
        "rss_bytes_per_job": grown_bytes / max(in_flight, 1),
    }
