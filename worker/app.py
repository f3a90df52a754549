"""Wiring: Settings → what arq needs to know to run our jobs."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from typing import Any

from arq.connections import RedisSettings
from arq.worker import Function, func

from client import Limits, SyncQueue, decode, encode, redis_settings
from client.redis.connection import connect
from client.redis.url import ServerAddress, server_address
from settings import Settings

from .calls import LLM, OwnPrices, PriceFileError, load_list_prices, read_prices
from .cpu.route import for_llm_worker
from .jobs import chat, embed, user_job
from .jobs.learn import Learner
from .jobs.totals import Totals
from .limits import aliases, configured, publish
from .registry import JobModuleError, load
from .sdks import http_client, lend
from .streams import Relay
from .watchdog import Watchdog, hooks

GC_THRESHOLDS = (
    20_000,
    20,
    50,
)  # objects, and younger collections, before a collection; Python's are 700, 10, 10
HEALTH_EVERY_S = 10  # `arq --check` and `promptmill doctor` notice a dead worker within a second more

logger = logging.getLogger("arq.worker")


class WorkerUnusable(Exception):
    """The worker cannot start. One sentence."""


def worker_settings(settings: Settings) -> type:
    """The class that `arq worker.WorkerSettings` runs. Raises WorkerUnusable, SettingsError, JobModuleError."""

    limits, own_prices = configured(settings), _own_prices(settings)

    async def on_startup(ctx: dict[str, Any]) -> None:
        for key in await publish(ctx["redis"], settings, limits):
            logger.info("limit of %s: %s", key, limits[key].words() if key in limits else "taken away")
        ctx["learner"] = learner = Learner(ctx["redis"], own_prices)
        ctx["relay"], ctx["book"] = Relay(ctx["redis"]), Totals(ctx["redis"])
        ctx["llm"] = LLM.open(settings, observe=learner.observe, own_prices=own_prices)
        lend(ctx["llm"].http)
        ctx["http"] = http_client(
            connect_timeout_s=settings.connect_timeout_s, read_timeout_s=settings.request_timeout_s
        )
        ctx["limits"] = Limits(ctx["redis"], connect(_address(settings), max_connections=1, retries=0))
        if watchdog := Watchdog.over(settings.loop_lag_warn_ms):
            ctx["watchdog"] = watchdog
        load_list_prices()
        _spare_the_collector()
        logger.info("%d jobs at once; %s", settings.max_jobs, _providers(settings))

    async def on_data_lost(ctx: dict[str, Any]) -> None:
        await publish(ctx["redis"], settings, limits)

    async def on_shutdown(ctx: dict[str, Any]) -> None:
        if "watchdog" in ctx:
            ctx.pop("watchdog").stop()
        if "llm" in ctx:  # arq calls this after a start that failed, too
            await ctx.pop("relay").close()
            await ctx.pop("book").close()
            await ctx.pop("llm").close()
            await ctx.pop("learner").close()
        if "limits" in ctx:
            await ctx.pop("limits").close()

    return type(
        "WorkerSettings",
        (),
        {
            "__doc__": "What `arq worker.WorkerSettings` runs, made from the environment.",
            "functions": _functions(settings),
            "redis_settings": _redis(settings),
            "on_startup": on_startup,
            "on_shutdown": on_shutdown,
            **(hooks() if settings.loop_lag_warn_ms else {}),
            "max_jobs": settings.max_jobs,
            "max_tries": settings.max_tries,
            "job_timeout": settings.job_timeout_s,
            "keep_result": settings.result_ttl_s,
            "drain_s": settings.drain_s,
            "lease_s": settings.lease_s,
            "outage_s": settings.redis_outage_s,
            "on_data_lost": on_data_lost,
            "models": tuple(aliases(settings).values()),
            "allow_abort_jobs": True,
            "health_check_interval": HEALTH_EVERY_S,
            "job_serializer": encode,
            "job_deserializer": decode,
            "log_results": False,  # an answer is the caller's, not the log's
        },
    )


def _spare_the_collector() -> None:
    """What was imported stays, and is not gone through again: with a thousand streams a full collection took
    60 to 200 ms, in which nothing else ran."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


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
    return [*ours, *(user_job(for_llm_worker(job), settings.max_tries) for job in theirs)]


def _own_prices(settings: Settings) -> OwnPrices:
    try:
        return read_prices(settings.prices_file)
    except PriceFileError as error:
        raise WorkerUnusable(str(error)) from None


def _redis(settings: Settings) -> RedisSettings:
    return redis_settings(_url(settings), ssl_cert_reqs=settings.redis_ssl_cert_reqs)


def _address(settings: Settings) -> ServerAddress:
    return server_address(_url(settings), ssl_cert_reqs=settings.redis_ssl_cert_reqs)


def _url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise WorkerUnusable("REDIS_URL is not set: set it, or start a private stack with `promptmill up`.")
    return settings.redis_url.get_secret_value()


def _providers(settings: Settings) -> str:
    """Which providers can be asked. Says whether there is a key, never what it is."""
    ready = [n for n, p in settings.all_providers().items() if p.is_usable]
    return f"providers: {', '.join(ready) or 'none (no API key is set)'}"
