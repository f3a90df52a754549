"""Thousands of plain calls at once in one worker process, beside bare loops that make the same calls.

The ideal is calls * CALL_S / at once, from the provider's first request to its last answer. CPU is what the worker
has used from before the enqueueing until every result is there; a loop's is that of its run.
"""

from __future__ import annotations

from benchmarks.flow.mill import Mill, endings, mill
from benchmarks.flow.provider import provider
from benchmarks.flow.verdict import at_least, at_most
from benchmarks.options import Options, figure, is_absent, measured
from benchmarks.report import Case, Figures

from .bare import bare, has
from .ratio import ratio

LEAST_PERCENT = 93.0
SDK_LIMIT_S = 20.0  # its pool needs minutes: what it has answered until then counts
MOST_TIMES = 1.5  # the bare loop's CPU


async def plain(options: Options) -> list[Case]:
    calls, at_once, call_s = options.pick((8_000, 2_000, 5.0), (400, 200, 1.0))
    ideal_s = calls * call_s / at_once

    async def through_the_queue() -> Figures:
        async with mill(max_jobs=at_once, latency_s=call_s) as m:
            await m.start_workers(1)
            return await _figures(m, calls, ideal_s)

    name = f"plain: {calls:,} calls of {call_s:g} s, {at_once:,} at once"
    worker = await measured("plain, promptmill", through_the_queue)
    async with provider(latency_sigma=0, latency_s=call_s) as simulated:
        words = simulated.base_url, calls, at_once
        loop = await measured("plain, bare loop", bare, "httpx-aiohttp", *words)
        sdk = (
            await measured("plain, openai SDK", bare, "openai", *words, limit_s=SDK_LIMIT_S)
            if has("openai")
            else None
        )
    if loop.get("calls") == calls:
        loop["ideal_percent"] = 100 * ideal_s / figure(loop, "wall_s")
    worker |= {"times_bare": ratio(worker, loop, "cpu_ms_per_call")}

    def meets() -> bool:
        as_cheap = at_most(worker, "times_bare", MOST_TIMES)
        below_sdk = sdk is None or is_absent(sdk) or (ratio(worker, sdk, "cpu_ms_per_call") or 1) < 1
        return at_least(worker, "ideal_percent", LEAST_PERCENT) and as_cheap and below_sdk

    goal = (
        f"at least {LEAST_PERCENT:g} % of the ideal; CPU at most {MOST_TIMES:g} times the bare loop's, "
        "and below the openai SDK's"
    )
    cases = [
        Case(f"{name}, promptmill", worker, goal, None if is_absent(worker) else meets()),
        Case(f"{name}, bare loop", loop),
    ]
    return cases if sdk is None else [*cases, Case(f"{name}, bare loop with the openai SDK", sdk)]


async def _figures(m: Mill, calls: int, ideal_s: float) -> Figures:
    worker = m.scene.workers[0]
    before_s = worker.cpu_s()
    asked = await m.ask(calls)
    await m.watch(lambda now: now.completed >= calls, 4 * ideal_s + 20)
    ended, seen = await endings(asked, 20), await m.provider.counts()
    return {
        "calls": ended.answered,
        "wall_s": seen.wall_s,
        "calls_per_s": ended.answered / seen.wall_s,
        "cpu_ms_per_call": 1000 * (worker.cpu_s() - before_s) / calls,
        "rss_mb": worker.rss_bytes() / 1024**2,
        "peak_open": seen.peak_open,
        "ideal_percent": 100 * ideal_s / seen.wall_s if ended.answered == calls else None,
    }
