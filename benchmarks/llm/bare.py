"""`python -m benchmarks.llm.bare CLIENT BASE_URL CALLS AT_ONCE STREAMED LIMIT_S`: calls in a bare asyncio loop with a
semaphore: no queue, no retries, no limits, nothing is kept. Says what they cost, as JSON.

After LIMIT_S seconds it is over: what has been answered until then counts, and what it has cost.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from importlib.util import find_spec
from time import monotonic, process_time

from benchmarks import proc
from benchmarks.report import Figures

from .calls import CLIENTS, Call
from .reporter import reporter

LIMIT_S = 45.0


async def bare(
    client: str, base_url: str, calls: int, at_once: int, *, streamed: bool = False, limit_s: float = LIMIT_S
) -> Figures:
    """What the loop finds, in a process of its own."""
    words = client, base_url, calls, at_once, int(streamed), limit_s
    async with reporter(f"{__package__}.bare", *words) as child:
        return await child.line(limit_s + 20)


def has(client: str) -> bool:
    """Whether it can be measured: the SDK is optional."""
    return client != "openai" or find_spec("openai") is not None


class _Loop:
    """Makes calls, and tells what has been answered at any time."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._answered = 0
        self._begun_s, self._before_s = monotonic(), process_time()

    async def run(self, calls: int, at_once: int) -> None:
        gate = asyncio.Semaphore(at_once)

        async def one() -> None:
            async with gate:
                if await self._call() == 0:
                    raise ValueError("an answer was empty")
                self._answered += 1

        await asyncio.gather(*(one() for _ in range(calls)))

    def tell(self) -> None:
        answered, wall_s = self._answered, monotonic() - self._begun_s
        cpu_s = process_time() - self._before_s
        figures: Figures = {
            "calls": answered,
            "wall_s": wall_s,
            "calls_per_s": answered / wall_s,
            "cpu_ms_per_call": 1000 * cpu_s / answered if answered else None,
            "rss_mb": proc.rss_bytes(os.getpid()) / 1024**2,
        }
        print(json.dumps(figures), flush=True)

    def give_up(self, *_: object) -> None:
        self.tell()
        os._exit(0)


async def _main(client: str, base_url: str, calls: str, at_once: str, streamed: str, limit_s: str) -> None:
    open_client = CLIENTS[client]
    async with open_client(base_url, int(at_once), streamed == "1") as call:
        gc.collect()
        loop = _Loop(call)
        # a signal, as some pools let no timer of the event loop through for minutes
        signal.signal(signal.SIGALRM, loop.give_up)
        signal.setitimer(signal.ITIMER_REAL, float(limit_s))
        await loop.run(int(calls), int(at_once))
        loop.give_up()  # without closing the pool: that takes some of them minutes, too


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
