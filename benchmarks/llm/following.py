"""`python -m benchmarks.llm.following URL STREAMS FOLLOWED`: follows that many of stream-0 … stream-{STREAMS - 1}.

Says {"ready": true} when all channels are subscribed to, and at the end what it cost and how late the deltas were.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from benchmarks.percentiles import percentile
from client import Queue

STAMP_CHARS = 4
STAMP_WRAP_MS = 10**STAMP_CHARS
LOOK_EVERY_S = 0.05
KEPT_OPEN_S = 60.0  # after the last event: the connections are counted meanwhile


class Readers:
    """Follow streams, and keep how late each delta was."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.delays_ms: list[float] = []
        self.events = 0
        self.first: tuple[float, float] | None = None  # monotonic and CPU seconds at the first event

    async def follow(self, job_id: str) -> None:
        async for event in self._queue.job(job_id).stream():
            now_ms = time.time_ns() / 1e6
            self.first = self.first or (time.monotonic(), time.process_time())
            self.events += 1
            self.delays_ms += delays_ms(event.text, now_ms)
            if event.error is not None:
                raise event.error

    def figures(self) -> dict[str, Any]:
        assert self.first is not None
        wall_s, cpu_s = time.monotonic() - self.first[0], time.process_time() - self.first[1]
        return {
            "deltas": len(self.delays_ms),
            "delay_p50_ms": percentile(self.delays_ms, 50),
            "delay_p99_ms": percentile(self.delays_ms, 99),
            "delay_max_ms": max(self.delays_ms),
            "events": self.events,
            "cores": cpu_s / wall_s,
            "cpu_us_per_event": 1e6 * cpu_s / self.events,
        }


def delays_ms(text: str, now_ms: float) -> list[float]:
    """How long ago each stamp in `text` was written."""
    stamps = (text[at : at + STAMP_CHARS] for at in range(0, len(text), STAMP_CHARS))
    return [(now_ms - int(stamp)) % STAMP_WRAP_MS for stamp in stamps]


async def _main(url: str, streams: str, followed: str) -> None:
    ids = [f"stream-{number}" for number in range(0, int(streams), int(streams) // int(followed))]
    async with Queue.from_url(url) as queue:
        readers = Readers(queue)
        tasks = [asyncio.create_task(readers.follow(job_id)) for job_id in ids[: int(followed)]]
        while len(await queue.session.redis.pubsub_channels()) < len(tasks):  # noqa: ASYNC110  it is not we who know
            await asyncio.sleep(LOOK_EVERY_S)
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.gather(*tasks)
        print(json.dumps(readers.figures()), flush=True)
        await asyncio.sleep(KEPT_OPEN_S)  # to be killed


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
