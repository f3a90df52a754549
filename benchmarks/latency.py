"""One job at a time, from the call to its start and to its result in the caller's hands.

The job returns the time of its own start; the caller, on the same clock, stamps before it enqueues and when
it holds the result, which it awaits in each system's documented way, with its defaults. Once on a worker with
nothing to do, once beside long jobs in flight, with room for more. A system that is slow gives fewer samples
within LIMIT_S.
"""

from __future__ import annotations

import asyncio
from time import monotonic, time_ns

from .options import Options, figure, is_absent, measured
from .percentiles import percentile
from .report import Case, Figures
from .stage import Stage, Stuck, stage
from .system import System, Work

ROOM = 100  # places beyond the jobs in flight
LIMIT_S = 30.0
FILL_LIMIT_S = 60.0
LONG_S = 600.0
PAUSE_S = 0.005  # so that the worker is at rest again
MOST_P99_MS = 15
GOAL = f"start and result: p50 ahead of every peer, p99 at most {MOST_P99_MS} ms"


async def run(options: Options) -> list[Case]:
    samples = options.pick(200, 20)
    cases: list[Case] = []
    for in_flight in (0, options.pick(500, 100)):
        found: dict[str, Figures] = {}
        for system in options.systems():
            label = f"{system.name}, {in_flight} in flight"
            found[label] = await measured(
                label,
                _measure,
                system,
                in_flight,
                samples,
            )
        (ours, figures), *peers = found.items()
        cases.append(Case(ours, figures, GOAL, _met(figures, [figures for _, figures in peers])))
        cases += [Case(name, figures) for name, figures in peers]
    return cases + options.absences()


async def _measure(system: System, in_flight: int, samples: int) -> Figures:
    async with stage(system, in_flight + samples + 1) as scene:
        scene.start_worker(in_flight + ROOM)
        await scene.warm(in_flight + samples)
        await _fill(scene, in_flight)
        starts_ms, results_ms = await _sample(scene, range(in_flight, in_flight + samples))
    return {
        "samples": len(starts_ms),
        "start_p50_ms": percentile(starts_ms, 50),
        "start_p99_ms": percentile(starts_ms, 99),
        "result_p50_ms": percentile(results_ms, 50),
        "result_p99_ms": percentile(results_ms, 99),
    }


async def _fill(scene: Stage, in_flight: int) -> None:
    await scene.client.enqueue([Work(number, LONG_S) for number in range(in_flight)])
    if not await scene.until(lambda: scene.tally.started() > in_flight, FILL_LIMIT_S):  # and the warming one
        raise Stuck(
            f"{scene.tally.started() - 1} of {in_flight} jobs have started within {FILL_LIMIT_S:g} s."
        )


async def _sample(scene: Stage, numbers: range) -> tuple[list[float], list[float]]:
    starts_ms, results_ms = [], []
    deadline = monotonic() + LIMIT_S
    for number in numbers:
        called_ns = time_ns()
        started_ns = await scene.client.call(Work(number))
        results_ms.append((time_ns() - called_ns) / 1e6)
        starts_ms.append((started_ns - called_ns) / 1e6)
        if monotonic() > deadline:
            break
        await asyncio.sleep(PAUSE_S)
    return starts_ms, results_ms


def _met(ours: Figures, peers: list[Figures]) -> bool | None:
    ran = [peer for peer in peers if not is_absent(peer)]
    if is_absent(ours) or not ran:
        return None
    return all(
        figure(ours, f"{moment}_p99_ms") <= MOST_P99_MS
        and all(figure(ours, f"{moment}_p50_ms") < figure(peer, f"{moment}_p50_ms") for peer in ran)
        for moment in ("start", "result")
    )
