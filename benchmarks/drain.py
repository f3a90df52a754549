"""Queued jobs, one worker, until they are done: what throughput, concurrency and the claim's cost share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from .stage import Stage
from .system import Work

_WEIGH_EVERY_S = 0.25  # looking through /proc costs a millisecond


@dataclass(frozen=True, slots=True)
class Drained:
    """From the first job's start to the last job's end, or to the limit."""

    jobs: int
    complete: bool
    seconds: float
    worker_cpu_s: float
    redis_cpu_s: float
    redis_script_us: float
    redis_command_us: float
    redis_commands: int
    peak_rss_bytes: int


async def drain(
    scene: Stage, works: Sequence[Work], *, concurrency: int, limit_s: float, first: int | None = None
) -> Drained:
    """Enqueues all, starts a worker, and watches until all, or the `first` so many, have ended.

    Enqueueing and the worker's own start are not measured. Raises Stuck where no job starts.
    """
    await scene.client.enqueue(works)
    worker = scene.start_worker(concurrency)
    cpu_s, before = await scene.until_first_start()
    wanted = len(works) if first is None else first
    peak_rss_bytes, weigh_at = 0, 0.0

    def done() -> bool:
        nonlocal peak_rss_bytes, weigh_at
        if (now := monotonic()) >= weigh_at:
            peak_rss_bytes, weigh_at = max(peak_rss_bytes, worker.rss_bytes()), now + _WEIGH_EVERY_S
        return tally.ended() >= wanted

    tally = scene.tally
    complete = await scene.until(done, limit_s)
    worker_cpu_s, after, jobs = worker.cpu_s() - cpu_s, await scene.server.reading(), tally.ended()
    return Drained(
        jobs,
        complete,
        max(tally.last_end_ns() - tally.first_start_ns(), 1) / 1e9,
        worker_cpu_s,
        after.cpu_s - before.cpu_s,
        after.script_us - before.script_us,
        after.command_us - before.command_us,
        after.commands - before.commands,
        peak_rss_bytes,
    )
