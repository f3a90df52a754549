"""What claiming a job costs Redis with 1,000 and with 100,000 jobs queued: in one queue, and over lanes.

One worker starts on the queue; measured is the time in scripts and the server's CPU, per job, while it does
the first 1,000 no-op jobs.
"""

from __future__ import annotations

from collections.abc import Sequence

from client import Queue

from .drain import drain
from .options import Options, figure, is_absent, measured
from .ours import OURS, OurClient
from .report import Case, Figures
from .stage import stage
from .system import Client, Work, in_parallel

LANES = 1_000
CONCURRENCY = 100
LIMIT_S = 120.0
MOST_GROWTH = 1.5  # times what a job costs with the short queue: more than the noise of a small machine
GOAL = "claim cost flat from the short queue to the long one"


async def enqueue_in_lanes(queue: Queue, works: Sequence[Work], lanes: int) -> None:
    """Job `number` into lane `number` modulo `lanes`."""

    async def enqueue(work: Work) -> None:
        await queue.enqueue("work", *work.arguments, _lane=f"lane-{work.number % lanes}")

    await in_parallel(enqueue, works)


class _InLanes:
    """Our client, whose bulk goes into lanes."""

    def __init__(self, client: OurClient) -> None:
        self._client = client
        self.enqueue_one = client.enqueue_one
        self.call = client.call
        self.close = client.close

    async def enqueue(self, works: Sequence[Work]) -> None:
        await enqueue_in_lanes(self._client.queue, works, LANES)


async def claim_costs(options: Options) -> list[Case]:
    """A case for each length of the queue, in one queue and in lanes."""
    lengths = options.pick((1_000, 100_000), (500, 2_000))
    cases = await _compare("one queue", lengths, in_lanes=False)
    return cases + await _compare(f"{LANES:,} lanes", lengths, in_lanes=True)


async def _compare(where: str, lengths: tuple[int, int], *, in_lanes: bool) -> list[Case]:
    short, long = lengths
    labels = [f"{OURS.name}, {length:,} queued in {where}" for length in lengths]
    few = await measured(labels[0], _measure, short, short, in_lanes=in_lanes)
    many = await measured(labels[1], _measure, long, short, in_lanes=in_lanes)
    return [Case(labels[0], few), Case(labels[1], many, GOAL, _met(few, many))]


async def _measure(length: int, first: int, *, in_lanes: bool) -> Figures:
    async with stage(OURS, length) as scene:
        client = scene.client
        assert isinstance(client, OurClient)
        bulk: Client = _InLanes(client) if in_lanes else client
        scene.client = bulk
        works = [Work(number) for number in range(length)]
        drained = await drain(scene, works, concurrency=CONCURRENCY, limit_s=LIMIT_S, first=first)
    return {
        "queued": length,
        "jobs": drained.jobs,
        "redis_script_us_per_job": drained.redis_script_us / max(drained.jobs, 1),
        "redis_cpu_us_per_job": drained.redis_cpu_s * 1e6 / max(drained.jobs, 1),
        "jobs_per_s": drained.jobs / drained.seconds,
    }


def _met(few: Figures, many: Figures) -> bool | None:
    if is_absent(few) or is_absent(many):
        return None
    name = "redis_cpu_us_per_job"
    return figure(many, name) <= MOST_GROWTH * figure(few, name)
