"""A provider that takes less than we are told, and one that is down for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from benchmarks.options import Options
from benchmarks.report import Case, Figures

from .curve import per_s, reached, refused_percent, settled
from .mill import MODEL, endings, mill
from .provider import Counts
from .verdict import at_least, at_most, judged

CALL_S = 0.5
SAMPLE_S = 0.5
RESULT_LIMIT_S = 30.0

TAKES = 40  # calls at once, which nobody tells us
WRONG = 500
MAX_JOBS = 500
WINDOW_S = 2.0  # of calls of 0.5 s: four rounds, or the waves in which they end would look like changes
SETTLES_WITHIN_S = 15.0
LEAST_PERCENT, MOST_REFUSED_PERCENT = 85.0, 3.0

ODD_LIMIT, ODD_FAULT = 20, 0.02  # calls at once; the chance of a 429 that no load explains
ODD_LEAST_PERCENT = 90.0

OUTAGE_LIMIT = 50
OUTAGE_SAMPLE_S = 0.1
FULL_WINDOW_S = 1.0
FULL_PERCENT = 90.0
FULL_WITHIN_S = 5.0


async def unlimited(options: Options) -> list[Case]:
    """No limit is configured, and the provider has one."""
    return [await _settle(options, workers, "") for workers in options.pick((1, 3), (1,))]


async def ceiling(options: Options) -> list[Case]:
    """The limit that is configured is far above the provider's."""
    return [await _settle(options, 1, f"{MODEL} concurrency={WRONG}")]


async def _settle(options: Options, workers: int, limits: str) -> Case:
    """It has settled when, from then until the jobs run out, every window of WINDOW_S has the rate and few refusals."""
    jobs = options.pick(2_000, 240)
    ideal_s = jobs * CALL_S / TAKES

    async def measure() -> Figures:
        settings = {"latency_s": CALL_S, "max_concurrency": TAKES}
        async with mill(limits=limits, max_jobs=MAX_JOBS, **settings) as m:
            await m.start_workers(workers)
            asked = await m.ask(jobs)
            seen = await m.watch(lambda now: now.completed >= jobs, 3 * ideal_s + 20, SAMPLE_S)
            ended = await endings(asked, RESULT_LIMIT_S)
        return _settled_figures(seen, jobs, ideal_s) | {"failed": ended.failed + ended.lost}

    def meets(figures: Figures) -> bool:
        return (
            at_most(figures, "settled_after_s", SETTLES_WITHIN_S)
            and at_most(figures, "steady_refused_percent", MOST_REFUSED_PERCENT)
            and at_least(figures, "throughput_percent", LEAST_PERCENT)
            and figures["failed"] == 0
        )

    told = f"told {WRONG}" if limits else "not told"
    name = f"{'ceiling' if limits else 'unlimited'}: provider takes {TAKES}, {told}; {jobs:,} jobs, {workers} worker(s)"
    goal = (
        f"settles within {SETTLES_WITHIN_S:g} s, then under {MOST_REFUSED_PERCENT:g} % refused; "
        f"at least {LEAST_PERCENT:g} % of the ideal throughput; none failed"
    )
    return await judged(name, measure, goal, meets)


def _settled_figures(seen: Sequence[Counts], jobs: int, ideal_s: float) -> Figures:
    begun = next((now for now in seen if now.requests), seen[-1])
    busy = [
        now for now in seen if now.requests and now.completed <= jobs - TAKES
    ]  # the last round is no measure
    least_per_s = LEAST_PERCENT / 100 * TAKES / CALL_S
    steady = settled(
        busy, least_per_s=least_per_s, most_refused_percent=MOST_REFUSED_PERCENT, length_s=WINDOW_S
    )
    last = seen[-1]
    complete = last.completed >= jobs
    return {
        "jobs": jobs,
        "settled_after_s": None if steady is None else steady.at_s - begun.at_s,
        "steady_per_s": None if steady is None else per_s(steady, busy[-1]),
        "steady_refused_percent": None if steady is None else refused_percent(steady, busy[-1]),
        "refused_percent": refused_percent(seen[0], last),
        "wall_s": last.wall_s,
        "ideal_s": ideal_s,
        "throughput_percent": 100 * ideal_s / last.wall_s if complete else None,
    }


async def odd(options: Options) -> list[Case]:
    """The provider refuses a few calls at random. The ideal is that of the rest: no place is ever empty."""
    jobs = options.pick(600, 120)
    ideal_s = jobs * CALL_S / ODD_LIMIT

    async def measure() -> Figures:
        limits = f"{MODEL} concurrency={ODD_LIMIT}"
        async with mill(limits=limits, latency_s=CALL_S, fault_429=ODD_FAULT) as m:
            await m.start_workers(1)
            asked = await m.ask(jobs)
            seen = await m.watch(lambda now: now.completed >= jobs, 5 * ideal_s + 20, SAMPLE_S)
            ended = await endings(asked, RESULT_LIMIT_S)
        last = seen[-1]
        return {
            "jobs": jobs,
            "refused_percent": refused_percent(seen[0], last),
            "peak_open": last.peak_open,
            "wall_s": last.wall_s,
            "ideal_s": ideal_s,
            "throughput_percent": 100 * ideal_s / last.wall_s if last.completed >= jobs else None,
            "failed": ended.failed + ended.lost,
        }

    def meets(figures: Figures) -> bool:
        return at_least(figures, "throughput_percent", ODD_LEAST_PERCENT) and figures["failed"] == 0

    name = f"odd: a limit of {ODD_LIMIT}, {ODD_FAULT:.0%} of the calls refused at random; {jobs:,} jobs"
    return [await judged(name, measure, f"at least {ODD_LEAST_PERCENT:g} % of the ideal; none failed", meets)]


async def outage(options: Options) -> list[Case]:
    """The provider answers 503 for a while. Full is FULL_PERCENT of the limit's rate over FULL_WINDOW_S."""
    before_s, down_s, jobs = options.pick((5.0, 20.0, 1_800), (1.0, 3.0, 400))
    full_per_s = OUTAGE_LIMIT / CALL_S

    async def measure() -> Figures:
        async with mill(limits=f"{MODEL} concurrency={OUTAGE_LIMIT}", latency_s=CALL_S) as m:
            await m.start_workers(2)
            asked = await m.ask(jobs)
            await asyncio.sleep(before_s)
            await m.provider.configure(down=True)
            before = await m.provider.counts()
            await asyncio.sleep(down_s)
            await m.provider.configure(down=False)
            limit_s = 3 * jobs / full_per_s + 20
            seen = await m.watch(lambda now: now.completed >= jobs, limit_s, OUTAGE_SAMPLE_S)
            ended = await endings(asked, RESULT_LIMIT_S)
        full = reached(seen, least_per_s=FULL_PERCENT / 100 * full_per_s, length_s=FULL_WINDOW_S)
        return {
            "jobs": jobs,
            "answered": ended.answered,
            "failed": ended.failed,
            "lost": ended.lost,
            "calls_while_down": seen[0].requests - before.requests,
            "peak_open": seen[-1].peak_open,
            "full_rate_after_s": None if full is None else full.at_s - seen[0].at_s,
            "wall_s": seen[-1].wall_s,
        }

    def meets(figures: Figures) -> bool:
        soon = at_most(figures, "full_rate_after_s", FULL_WITHIN_S)
        return soon and figures["answered"] == jobs and at_most(figures, "peak_open", OUTAGE_LIMIT)

    name = f"outage: provider down for {down_s:g} s under load, a limit of {OUTAGE_LIMIT}"
    goal = f"none lost or failed; full rate within {FULL_WITHIN_S:g} s of its return"
    return [await judged(name, measure, goal, meets)]
