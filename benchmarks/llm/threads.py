"""The same calls through a worker of ours, workers with threads, and the script of one loop; then each is killed.

`unharmed`: how many calls are answered a second, from the provider's first request to its last answer, and the resident
memory half way. `killed`: the calls last CALL_S in the median, and vary as an LLM's do. When half are answered, the
worker is killed with signal 9 and started again. `unanswered` are jobs that the provider has not answered WAIT_S later,
`paid_twice` those it has answered more than once. `cut_off` were in flight: they may be billed, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, TypeAlias

from benchmarks.flow.mill import LEASE_S
from benchmarks.flow.provider import Counts, Provider, provider
from benchmarks.flow.verdict import at_least
from benchmarks.options import Options, is_absent, measured
from benchmarks.report import Case, Figures
from benchmarks.stage import Stuck

from .blocking import THREADS
from .contenders import CONTENDERS, Contender

CALL_S = 5.0
SIGMA = 0.3  # the spread of the calls' durations where they are killed
WAIT_S = 75.0  # dramatiq gives up a dead worker after 60 s
CUT_LIMIT_S = 5.0  # for the provider to notice
LOOK_EVERY_S = 0.05
LEAST_TIMES = 10.0  # a thread worker's calls a second


@dataclass(frozen=True, slots=True)
class Load:
    calls: int  # for those who make as many at once as there are
    rounds: int  # of 25 for the others, so that they end this year
    call_s: float
    wait_s: float
    lease_s: float  # ours

    def limit_s(self) -> float:
        """For all of it, with what a worker takes to start."""
        return 3 * self.rounds * self.call_s + 20

    def calls_of(self, contender: Contender) -> int:
        return THREADS * self.rounds if contender.in_threads else self.calls


Measure: TypeAlias = Callable[[Contender, Load], Coroutine[Any, Any, Figures]]


async def threads(options: Options) -> list[Case]:
    load = options.pick(Load(500, 5, CALL_S, WAIT_S, LEASE_S), Load(300, 2, 1.0, 12.0, 3.0))
    loops = [await _case(each, load, _unharmed) for each in CONTENDERS if not each.in_threads]
    # threads mostly wait, and so does everybody after a kill
    threaded = await asyncio.gather(*(_case(each, load, _unharmed) for each in CONTENDERS if each.in_threads))
    kills = await asyncio.gather(*(_case(each, load, _killed) for each in CONTENDERS))
    ours, theirs = loops[0].figures, [case.figures for case in threaded if not is_absent(case.figures)]
    goal = f"at least {LEAST_TIMES:g} times the calls/s of {THREADS} threads"
    harmed = kills[0].figures
    safe = None if is_absent(harmed) else harmed["unanswered"] == 0
    return [
        replace(loops[0], goal=goal, met=_met(ours, theirs)),
        *(*loops[1:], *threaded),
        replace(kills[0], goal="none unanswered", met=safe),
        *kills[1:],
    ]


def _met(ours: Figures, theirs: list[Figures]) -> bool | None:
    rates = [rate for figures in theirs if isinstance(rate := figures["calls_per_s"], int | float)]
    if is_absent(ours) or not rates:
        return None
    return at_least(ours, "calls_per_s", LEAST_TIMES * max(rates))


async def _case(contender: Contender, load: Load, measure: Measure) -> Case:
    name = f"{contender.name}, {measure.__name__.strip('_')}"
    return Case(name, await measured(name, measure, contender, load))


async def _until(simulated: Provider, holds: Callable[[Counts], bool], limit_s: float) -> None:
    """Raises Stuck where it does not within `limit_s`."""
    deadline = monotonic() + limit_s
    while not holds(seen := await simulated.counts()):
        if monotonic() > deadline:
            raise Stuck(f"After {limit_s:g} s, {seen.completed} calls are answered.")
        await asyncio.sleep(LOOK_EVERY_S)


async def _unharmed(contender: Contender, load: Load) -> Figures:
    calls = load.calls_of(contender)
    async with (
        provider(latency_sigma=0, latency_s=load.call_s) as simulated,
        contender.open(simulated, calls, load.lease_s) as runner,
    ):
        await runner.ask()
        await runner.start()
        await _until(simulated, lambda now: now.completed >= calls / 2, load.limit_s())
        rss_bytes = runner.rss_bytes()
        await _until(simulated, lambda now: now.completed >= calls, load.limit_s())
        seen = await simulated.counts()
    return {
        "calls": seen.completed,
        "wall_s": seen.wall_s,
        "calls_per_s": seen.completed / seen.wall_s,
        "rss_mb": rss_bytes / 1024**2,
    }


async def _killed(contender: Contender, load: Load) -> Figures:
    calls = load.calls_of(contender)
    async with (
        provider(latency_sigma=SIGMA, latency_s=load.call_s) as simulated,
        contender.open(simulated, calls, load.lease_s) as runner,
    ):
        await runner.ask()
        await runner.start()
        await _until(simulated, lambda now: now.completed >= calls / 2, load.limit_s())
        runner.kill()
        await _until(simulated, lambda now: now.open == 0, CUT_LIMIT_S)
        at_kill = await simulated.counts()
        await runner.start()
        begun_s = monotonic()
        while monotonic() < begun_s + load.wait_s:
            answers, seen = await simulated.answers(), await simulated.counts()
            if len(answers) == calls and seen.open == 0:
                break
            await asyncio.sleep(LOOK_EVERY_S)
        waited_s = monotonic() - begun_s
    return {
        "calls": calls,
        "unanswered": calls - len(answers),
        "paid_twice": sum(count > 1 for count in answers.values()),
        "cut_off": at_kill.requests - at_kill.completed,
        "over_after_s": waited_s,
    }
