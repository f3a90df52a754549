"""A fleet of small workers and more jobs than it has places: how many are in flight, and when.

All workers are up before the jobs are enqueued; the curve is read afterwards from the times in the tally.
Then, ours only, what a claim costs with few and with many jobs queued (lanes.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time_ns

from .lanes import claim_costs
from .options import Options, figure, is_absent, measured
from .report import Case, Figures
from .stage import Stage, stage
from .system import System, Work

PLACES = 20  # of each worker
JOB_S = 3.0
REACHED_WITHIN_S = 1.0
LEAST_KEPT_PERCENT = 95.0  # of the places, on average: a place is free for some ms between two jobs
LIMIT_S = 120.0
SYSTEMS = ("arq",)


async def run(options: Options) -> list[Case]:
    workers, jobs = options.pick((8, 400), (3, 150))
    goal = f"{workers * PLACES} in flight within {REACHED_WITHIN_S:g} s and until the end"
    cases: list[Case] = []
    for system in options.systems(only=SYSTEMS):
        figures = await measured(system.name, _measure, system, workers, jobs)
        ours = not cases
        cases.append(Case(system.name, figures, goal if ours else None, _met(figures) if ours else None))
    return cases + options.absences(only=SYSTEMS) + await claim_costs(options)


async def _measure(system: System, workers: int, jobs: int) -> Figures:
    async with stage(system, jobs + 1) as scene:
        await _start(scene, workers, jobs)
        enqueued_ns = time_ns()
        await scene.client.enqueue([Work(number, JOB_S) for number in range(jobs)])
        complete = await scene.until(lambda: scene.tally.ended() > jobs, LIMIT_S)
        started_ns = scene.tally.started_ns[:jobs].tolist()
        ended_ns = scene.tally.ended_ns[:jobs].tolist()
    places, curve = workers * PLACES, in_flight(started_ns, ended_ns)
    reached_ns = next((at for at, count in curve if count == places), None)
    return {
        "jobs_done": jobs if complete else None,
        "places": places,
        "peak_in_flight": max(count for _, count in curve),
        "all_places_taken_after_s": None if reached_ns is None else (reached_ns - enqueued_ns) / 1e9,
        "places_taken_percent": 100
        * mean_in_flight(curve, reached_ns or enqueued_ns, max(started_ns))
        / places,
        "wall_s": (max(ended_ns) - enqueued_ns) / 1e9,
        "ideal_s": -(-jobs // places) * JOB_S,
    }


async def _start(scene: Stage, workers: int, jobs: int) -> None:
    """Returns when every worker is up: one has done a job and none is busy starting."""
    for _ in range(workers):
        scene.start_worker(PLACES)
    await scene.warm(jobs)
    await scene.at_rest()


def in_flight(started_ns: Sequence[int], ended_ns: Sequence[int]) -> list[tuple[int, int]]:
    """At each change, when and how many are in flight from then on. An end counts before a start."""
    changes = sorted([(at, 1) for at in started_ns if at] + [(at, -1) for at in ended_ns if at])
    count, curve = 0, []
    for at, change in changes:
        count += change
        curve.append((at, count))
    return curve


def mean_in_flight(curve: Sequence[tuple[int, int]], from_ns: int, to_ns: int) -> float:
    """The mean number in flight between two moments, weighted by time."""
    if to_ns <= from_ns:
        return 0.0
    area, count, at = 0, 0, from_ns
    for change_at, next_count in curve:
        now = min(max(change_at, from_ns), to_ns)
        area, count, at = area + count * (now - at), next_count, now
    return (area + count * (to_ns - at)) / (to_ns - from_ns)


def _met(figures: Figures) -> bool | None:
    if is_absent(figures):
        return None
    if figures["all_places_taken_after_s"] is None or figures["jobs_done"] is None:
        return False
    soon = figure(figures, "all_places_taken_after_s") <= REACHED_WITHIN_S
    return soon and figure(figures, "places_taken_percent") >= LEAST_KEPT_PERCENT
