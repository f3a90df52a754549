"""Wiring: Settings → what arq needs to know to run our jobs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from arq.connections import RedisSettings
from arq.worker import Function, func

from client import decode, encode, keys, redis_settings
from settings import Settings

from .jobs import chat, embed
from .llm import LLM
from .registry import load

HEALTH_EVERY_S = 10  # `arq --check` and `promptmill doctor` notice a dead worker within a second more

# Tries are counted by our own policy (worker/jobs). arq's count is only the guard against a job that
# kills its worker again and again, which a restart at every deploy must not set off.
ARQ_TRIES = 50

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
            "job_serializer": encode,
            "job_deserializer": decode,
            "log_results": False,  # an answer is the caller's, not the log's
        },
    )


def _functions(settings: Settings) -> Sequence[Function]:
    ours = [func(job, name=job.__name__, max_tries=ARQ_TRIES) for job in (chat, embed)]
    return [*ours, *load(settings.job_modules)]


def _redis(settings: Settings) -> RedisSettings:
    if settings.redis_url is None:
        raise WorkerUnusable("REDIS_URL is not set: set it, or start a private stack with `promptmill up`.")
    return redis_settings(settings.redis_url.get_secret_value(), ssl_cert_reqs=settings.redis_ssl_cert_reqs)


def _providers(settings: Settings) -> str:
    """Which providers can be asked. Says whether there is a key, never what it is."""
    ready = [n for n, p in settings.all_providers().items() if p.api_key is not None or not p.needs_key]
    return f"providers: {', '.join(ready) or 'none (no API key is set)'}"


async def _tell(ctx: dict[str, Any]) -> None:
    """Wakes whoever waits for the job. After a retry there is nothing to see yet: one cheap look."""
    await ctx["redis"].publish(keys.done_channel(ctx["job_id"]), b"")
