"""Many texts embedded by one job, and what its vectors take in Redis: MEMORY USAGE of every key of the job."""

from __future__ import annotations

from time import monotonic

from benchmarks.flow.mill import Mill, mill
from benchmarks.flow.verdict import at_most, judged
from benchmarks.options import Options
from benchmarks.report import Case, Figures

DIMENSIONS = 1_536
MODEL = "sim/text-embedding-3-small"
MOST_BYTES = 8.0  # a number of a vector
RESULT_LIMIT_S = 120.0


async def vectors(options: Options) -> list[Case]:
    texts = options.pick(10_000, 500)

    async def measure() -> Figures:
        async with mill(max_jobs=100, latency_s=0.2) as m:
            await m.start_workers(1)
            return await _figures(m, texts)

    name = f"vectors: {texts:,} texts of {DIMENSIONS:,} dimensions"
    goal = f"at most {MOST_BYTES:g} bytes in Redis for each dimension"
    return [
        await judged(name, measure, goal, lambda found: at_most(found, "bytes_per_dimension", MOST_BYTES))
    ]


async def _figures(m: Mill, texts: int) -> Figures:
    worker = m.scene.workers[0]
    before_s, begun_s = worker.cpu_s(), monotonic()
    job = await m.queue.embed([f"text number {number}" for number in range(texts)], model=MODEL)
    found = await job.result(RESULT_LIMIT_S)
    wall_s, cpu_s = monotonic() - begun_s, worker.cpu_s() - before_s
    packed = found.packed
    if (len(packed), packed.dimensions) != (texts, DIMENSIONS):
        raise ValueError(f"there are {len(packed)} vectors of {packed.dimensions} dimensions")
    redis_bytes = await _bytes_of(m, job.id)
    return {
        "bytes_per_dimension": redis_bytes / (texts * DIMENSIONS),
        "redis_mb": redis_bytes / 1024**2,
        "requests": (await m.provider.counts()).requests,
        "wall_s": wall_s,
        "worker_cpu_s": cpu_s,
        "worker_rss_mb": worker.rss_bytes() / 1024**2,
    }


async def _bytes_of(m: Mill, job_id: str) -> int:
    """Of all keys with the job's id in their name."""
    total = 0
    async for key in m.queue.session.redis.scan_iter(f"*{job_id}*"):
        total += await m.queue.session.redis.memory_usage(key, samples=0) or 0
    return total
