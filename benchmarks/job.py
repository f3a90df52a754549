"""The one job that every system runs."""

from __future__ import annotations

import asyncio
import time

from .tally import of_this_worker


async def work(number: int, seconds: float, text: str) -> int:
    """Sleeps `seconds` where there are any. Returns when it started, Unix nanoseconds."""
    tally = of_this_worker()
    started_ns = tally.begin(number)
    if seconds:
        await asyncio.sleep(seconds)
    tally.end(number)
    return started_ns


def work_in_thread(number: int, seconds: float, text: str) -> int:
    """The same for systems that run a job in a thread."""
    tally = of_this_worker()
    started_ns = tally.begin(number)
    if seconds:
        time.sleep(seconds)
    tally.end(number)
    return started_ns
