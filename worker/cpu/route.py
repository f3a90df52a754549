"""Who runs what: a worker for LLM calls moves a CPU job on, a worker for CPU jobs computes it."""

from __future__ import annotations

from dataclasses import replace

from arq.worker import Function

from client import decode, encode
from client.errors import UnknownFunction
from client.redis.connection import keys_at
from client.wire.lane import parts_of
from worker.context import Context, CoroutineFunction, R
from worker.registry import CpuFunction
from worker.signals import Reroute

from .pool import Pool
from .process import START_LIMIT_S

LANE = "cpu"  # enqueue(…, _lane="cpu") saves a job the way over an LLM worker
MARGIN_S = 10.0  # the engine's timeout is the later one: a job's time begins when a process has it


def for_llm_worker(function: R) -> R:
    """The function as it is, or, where it computes, one that moves its job into the lane of CPU jobs."""
    moved: CoroutineFunction = _moved
    return replace(function, coroutine=moved) if isinstance(function, CpuFunction) else function


def for_cpu_worker(function: Function, pool: Pool, *, timeout_s: float) -> Function:
    """One that runs in the pool, within its own timeout or `timeout_s`; what does not compute is refused."""
    if not isinstance(function, CpuFunction):
        return replace(function, coroutine=_refusing(function.name))
    limit_s = timeout_s if function.timeout_s is None else function.timeout_s

    async def computed(ctx: Context, /, *args: object, **kwargs: object) -> object:
        call = {
            "f": function.name,
            "a": args,
            "k": kwargs,
            "ctx": {"job_id": ctx.job_id, "job_try": ctx.job_try},
        }
        return await pool.run(call, limit_s=limit_s)

    coroutine: CoroutineFunction = computed
    return replace(function, coroutine=coroutine, timeout_s=START_LIMIT_S + limit_s + MARGIN_S)


def lane_for(lane: str) -> str:
    """The lane of CPU jobs that stands for `lane`: under the same limits, and served in turn as it is."""
    return "|".join([LANE, *(part for part in parts_of(lane) if part != LANE)])


async def _moved(ctx: Context, /, *args: object, **kwargs: object) -> None:
    lane = lane_for(ctx.lane)
    raise Reroute(lane, encode({**decode(ctx.payload), "q": keys_at(ctx["redis"]).lane(lane)}))


def _refusing(name: str) -> CoroutineFunction:
    async def refused(_ctx: Context, /, *args: object, **kwargs: object) -> None:
        raise UnknownFunction(
            f"{name!r} is no job for the lane {LANE!r}: mark it with @job(cpu=True), or enqueue it elsewhere."
        )

    return refused
