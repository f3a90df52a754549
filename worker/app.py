"""Wiring: Settings → what arq needs to know to run our jobs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from arq.connections import RedisSettings
from arq.worker import Function, func

from client import SyncQueue, decode, encode, redis_settings
from settings import Settings

from .jobs import chat, embed
from .llm import LLM
from .registry import JobModuleError, load

HEALTH_EVERY_S = 10  # `arq --check` and `promptmill doctor` notice a dead worker within a second more

logger = logging.getLogger("arq.worker")


class WorkerUnusable(Exception):
    """The worker cannot start. One sentence."""


def worker_settings(settings: Settings) -> type:
    """The class that `arq worker.WorkerSettings` runs. Raises WorkerUnusable, JobModuleError."""

    async def on_startup(ctx: dict[str, Any]) -> None:
        ctx["llm"] = LLM.open(settings)
        logger.info("%d jobs at once; %s", settings.max_jobs, _providers(settings))

    async def on_shutdown(ctx: dict[str, Any]) -> None:
        if "llm" in ctx:  # arq calls this after a start that failed, too
            await ctx.pop("llm").close()

    return type(
        "WorkerSettings",
        (),
        {
            "__doc__": "What `arq worker.WorkerSettings` runs, made from the environment.",
            "functions": _functions(settings),
            "redis_settings": _redis(settings),
            "on_startup": on_startup,
            "on_shutdown": on_shutdown,
            "max_jobs": settings.max_jobs,
            "max_tries": settings.max_tries,
            "job_timeout": settings.job_timeout_s,
            "keep_result": settings.result_ttl_s,
            "drain_s": settings.drain_s,
            "lease_s": settings.lease_s,
            "outage_s": settings.redis_outage_s,
            "allow_abort_jobs": True,
            "health_check_interval": HEALTH_EVERY_S,
            "job_serializer": encode,
            "job_deserializer": decode,
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
    ours = [func(job, name=job.__name__) for job in (chat, embed)]
    theirs = load(settings.job_modules)
    for taken in {job.name for job in ours} & {job.name for job in theirs}:
        raise JobModuleError(
            f"A job of JOB_MODULES is named {taken!r}, as one of promptmill's own: give it another name "
            "with @job(name=…)."
        )
    return [*ours, *theirs]


def _redis(settings: Settings) -> RedisSettings:
    return redis_settings(_url(settings), ssl_cert_reqs=settings.redis_ssl_cert_reqs)


def _url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise WorkerUnusable("REDIS_URL is not set: set it, or start a private stack with `promptmill up`.")
    return settings.redis_url.get_secret_value()


def _providers(settings: Settings) -> str:
    """Which providers can be asked. Says whether there is a key, never what it is."""
    ready = [n for n, p in settings.all_providers().items() if p.api_key is not None or not p.needs_key]
    return f"providers: {', '.join(ready) or 'none (no API key is set)'}"
