"""kill -9 of a worker with 200 jobs in flight, a second worker alive: when do all of them run again?

The first worker is full, so a last job that ends proves that the second is up; then the first is killed. Every
job must have a second start within the lease and LATE_S, and one end.
"""

from __future__ import annotations

from time import time_ns

from .options import Options, is_absent, measured
from .ours import OURS
from .report import Case, Figures
from .stage import Stuck, stage
from .system import Work

JOBS = 200
ROOM = 50
JOB_S = 25.0  # longer than the lease, so that what ends has run in one piece
LEASE_S = 15.0  # the default
LATE_S = 2.0
FILL_LIMIT_S = 30.0
AGAIN_LIMIT_S = 60.0
GOAL = f"all {JOBS} running elsewhere within lease + {LATE_S:g} s, none lost, none finished twice"
ARQ = "arq reruns a killed worker's jobs after its longest timeout + 10 s, 306 s as measured: not waited for"


async def run(options: Options) -> list[Case]:
    """Nothing is quicker with --quick: the lease is what it is."""
    figures = await measured(OURS.name, _measure)
    cases = [Case(OURS.name, figures, GOAL, None if is_absent(figures) else _met(figures))]
    if any(peer.name == "arq" for peer in options.peers):
        cases.append(Case("arq", {"absent": ARQ}))
    return cases + options.absences(only=("arq",))


async def _measure() -> Figures:
    async with stage(OURS, JOBS + 1) as scene:
        tally, first = scene.tally, scene.start_worker(JOBS)
        await scene.client.enqueue([Work(number, JOB_S) for number in range(JOBS)])
        if not await scene.until(lambda: tally.started() == JOBS, FILL_LIMIT_S):
            raise Stuck(f"{tally.started()} of {JOBS} jobs have started: {first.last_words()}")
        scene.start_worker(JOBS + ROOM)
        await scene.warm(JOBS)
        scene.workers.remove(first)
        first.kill()
        killed_ns = time_ns()

        def all_again() -> bool:
            return min(tally.starts[:JOBS]) > 1

        recovered = await scene.until(all_again, AGAIN_LIMIT_S)
        if recovered:
            await scene.until(lambda: min(tally.ends[:JOBS]) > 0, JOB_S + AGAIN_LIMIT_S)
        starts, ends = tally.starts[:JOBS].tolist(), tally.ends[:JOBS].tolist()
        again_s = [(tally.started_ns[n] - killed_ns) / 1e9 for n in range(JOBS) if starts[n] > 1]
    return {
        "killed_in_flight": JOBS,
        "running_again": len(again_s),
        "first_again_after_s": min(again_s, default=None),
        "all_again_after_s": max(again_s) if recovered else None,
        "lost": ends.count(0) if recovered else None,
        "finished_twice": sum(end > 1 for end in ends),
        "started_thrice": sum(start > 2 for start in starts),
    }


def _met(figures: Figures) -> bool:
    again_s = figures["all_again_after_s"]
    soon = isinstance(again_s, float) and again_s <= LEASE_S + LATE_S
    return soon and figures["lost"] == 0 and figures["finished_twice"] == 0
