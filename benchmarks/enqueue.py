"""Chat requests of 1 KB into the queue from one process, no worker running: jobs a second.

In bulk, in each system's fastest documented way (peers/*.py), and one at a time, each call awaited before the
next. Ours are checked chat requests; the peers' are jobs with 1 KB of text.
"""

from __future__ import annotations

from time import monotonic, process_time
from typing import cast

from .options import Options, figure, is_absent, measured
from .ours import OURS, OurClient
from .report import Case, Figures
from .stage import Stage, stage
from .system import System, Work

TEXT_BYTES = 1_024
ONE_AT_A_TIME_LIMIT_S = 10.0
BULK_GOAL = "chat_many: at least 2 times the fastest peer's bulk"
ONE_GOAL = "one at a time: no slower than arq"


async def run(options: Options) -> list[Case]:
    jobs, singles = options.pick((20_000, 3_000), (2_000, 300))
    found: dict[str, Figures] = {}
    for system in options.systems():
        label = f"{system.name}, bulk"
        found[label] = await measured(label, _bulk, system, jobs)
    for system in options.systems(only=("arq",)):
        label = f"{system.name}, one at a time"
        found[label] = await measured(label, _singly, system, singles)
    peers = [figures for label, figures in found.items() if label.endswith("bulk")][1:]
    judged = {
        f"{OURS.name}, bulk": (BULK_GOAL, _met(found[f"{OURS.name}, bulk"], peers, 2)),
        f"{OURS.name}, one at a time": (
            ONE_GOAL,
            _met(found[f"{OURS.name}, one at a time"], [found.get("arq, one at a time", {"absent": "-"})], 1),
        ),
    }
    return [
        Case(label, figures, *judged.get(label, ())) for label, figures in found.items()
    ] + options.absences()


async def _bulk(system: System, jobs: int) -> Figures:
    async with stage(system, 1) as scene:
        await _warm(scene)
        at, cpu_s = monotonic(), process_time()
        if system is OURS:
            await cast(OurClient, scene.client).queue.chat_many(_text() for _ in range(jobs))
        else:
            await scene.client.enqueue([Work(number, 0.0, _text()) for number in range(jobs)])
        return _figures(jobs, monotonic() - at, process_time() - cpu_s)


async def _singly(system: System, jobs: int) -> Figures:
    async with stage(system, 1) as scene:
        await _warm(scene)
        at, cpu_s, done = monotonic(), process_time(), 0
        while done < jobs and monotonic() - at < ONE_AT_A_TIME_LIMIT_S:
            if system is OURS:
                await cast(OurClient, scene.client).queue.chat(_text())
            else:
                await scene.client.enqueue_one(Work(done, 0.0, _text()))
            done += 1
        return _figures(done, monotonic() - at, process_time() - cpu_s)


async def _warm(scene: Stage) -> None:
    """Connections and scripts."""
    await scene.client.enqueue([Work(0)] * 10)


def _text() -> str:
    return "x" * TEXT_BYTES


def _figures(jobs: int, seconds: float, cpu_s: float) -> Figures:
    return {
        "jobs": jobs,
        "seconds": seconds,
        "jobs_per_s": jobs / seconds,
        "client_cpu_ms_per_job": cpu_s * 1e3 / jobs,
    }


def _met(ours: Figures, peers: list[Figures], factor: float) -> bool | None:
    ran = [figure(peer, "jobs_per_s") for peer in peers if not is_absent(peer)]
    return None if is_absent(ours) or not ran else figure(ours, "jobs_per_s") >= factor * max(ran)
