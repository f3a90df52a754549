"""Wiring: Settings → what arq needs to know to run our jobs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Annotated, Any

from arq.connections import RedisSettings
from arq.jobs import DeserializationError
from arq.worker import Function, func
from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from client import SyncQueue, decode, encode, keys, redis_settings
from client.errors import JobFailed, Unserializable
from settings import Settings

from .jobs import chat, embed
from .llm import LLM
from .registry import JobModuleError, load

HEALTH_EVERY_S = 10  # `arq --check` and `promptmill doctor` notice a dead worker within a second more

# A command that finds Redis away is sent again for some 17 s at least (0.1 + 0.2 + 0.4 + 0.8 + 16 of 1), so
# calls in flight and the answers of those that end outlive a server that is back by then.
REDIS_RETRIES = 20
REDIS_BACKOFF_BASE_S, REDIS_BACKOFF_CAP_S = 0.05, 1.0

# Tries are counted by our own policy (worker/jobs). arq's count is only the guard against a job that
# kills its worker again and again, which a restart at every deploy must not set off.
ARQ_TRIES = 50

UNREADABLE = (
    "The job cannot be read, as it is no JSON record of a job: enqueue it with client.Queue, or with an arq "
    "pool whose job_serializer is client.encode."
)

logger = logging.getLogger("arq.worker")


class WorkerUnusable(Exception):
    """The worker cannot start. One sentence."""


def worker_settings(settings: Settings) -> type:
    """The class that `arq worker.WorkerSettings` runs. Raises WorkerUnusable, JobModuleError."""

    async def on_startup(ctx: dict[str, Any]) -> None:
        ctx["llm"] = LLM.open(settings)
        logger.info("%d jobs at once; %s", settings.max_jobs, _providers(settings))

    async def on_shutdown(ctx: dict[str, Any]) -> None:
        await ctx["llm"].close()

    return type(
        "WorkerSettings",
        (),
        {
            "__doc__": "What `arq worker.WorkerSettings` runs, made from the environment.",
            "functions": _functions(settings),
            "redis_settings": _redis(settings),
            "on_startup": on_startup,
            "on_shutdown": on_shutdown,
            "after_job_end": _tell,
            "max_jobs": settings.max_jobs,
            "max_tries": settings.max_tries,
            "job_timeout": settings.job_timeout_s,
            "keep_result": settings.result_ttl_s,
            "job_completion_wait": math.ceil(settings.drain_s),
            "allow_abort_jobs": True,
            "health_check_interval": HEALTH_EVERY_S,
            "job_serializer": _write,
            "job_deserializer": _read,
            "log_results": False,  # an answer is the caller's, not the log's
        },
    )


def reach_redis(settings: Settings) -> None:
    """Returns once the server answers, however it is asked for. Blocks for some 4 s at most.

    arq would write a traceback where it cannot connect. Raises QueueUnavailable with the reason.
    """
    with SyncQueue.from_url(_url(settings), ssl_cert_reqs=settings.redis_ssl_cert_reqs) as queue:
        queue.ping()


def _functions(settings: Settings) -> Sequence[Function]:
    ours = [func(job, name=job.__name__, max_tries=ARQ_TRIES) for job in (chat, embed)]
    theirs = load(settings.job_modules)
    for taken in {job.name for job in ours} & {job.name for job in theirs}:
        raise JobModuleError(
            f"A job of JOB_MODULES is named {taken!r}, as one of promptmill's own: give it another name "
            "with @job(name=…)."
        )
    return [*ours, *theirs]


def _redis(settings: Settings) -> RedisSettings:
    redis = redis_settings(_url(settings), ssl_cert_reqs=settings.redis_ssl_cert_reqs)
    redis.retry = Retry(ExponentialBackoff(cap=REDIS_BACKOFF_CAP_S, base=REDIS_BACKOFF_BASE_S), REDIS_RETRIES)
    redis.retry_on_error = [RedisConnectionError, RedisTimeoutError, OSError]  # OSError: refused, no socket
    return redis


def _url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise WorkerUnusable("REDIS_URL is not set: set it, or start a private stack with `promptmill up`.")
    return settings.redis_url.get_secret_value()


class _JobRecord(BaseModel):
    """What arq relies on in a job and does not check: one field of another type would end the worker."""

    model_config = ConfigDict(strict=True)

    f: str
    a: list[Any]
    k: dict[str, Any]
    t: int | None
    et: Annotated[int, Field(ge=0, le=253_402_300_799_000)]  # Unix ms, to the end of the year 9999


def _read(data: bytes) -> dict[str, Any]:
    """A record as `decode` reads it. Raises ValueError on what is no job, pickle included: arq fails it."""
    record = decode(data)
    if "r" not in record:
        _JobRecord.model_validate(record)
    return record


def _write(record: dict[str, Any]) -> bytes:
    """A record as `encode` writes it. A result that is not JSON becomes an error that says so."""
    if isinstance(record.get("r"), DeserializationError):
        return encode(record | {"r": JobFailed(UNREADABLE, error_type="DeserializationError")})
    try:
        return encode(record)
    except (Unserializable, ValueError) as error:  # ValueError: bytes that are no text, a list in itself
        if "r" not in record:
            raise
        cause = error if isinstance(error, Unserializable) else Unserializable(f"It is not JSON: {error}.")
        return encode(record | {"s": False, "r": cause})


def _providers(settings: Settings) -> str:
    """Which providers can be asked. Says whether there is a key, never what it is."""
    ready = [n for n, p in settings.all_providers().items() if p.api_key is not None or not p.needs_key]
    return f"providers: {', '.join(ready) or 'none (no API key is set)'}"


async def _tell(ctx: dict[str, Any]) -> None:
    """Wakes whoever waits for the job. After a retry there is nothing to see yet: one cheap look.

    Best effort: the result is written, waiters look for themselves now and then, and what is raised
    here would end the worker.
    """
    try:
        await ctx["redis"].publish(keys.done_channel(ctx["job_id"]), b"")
    except (RedisError, OSError) as error:
        logger.warning("%s: cannot tell that it has ended: %s", ctx["job_id"], error)
