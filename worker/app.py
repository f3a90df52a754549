"""Wiring: Settings → what `arq worker.WorkerSettings` runs."""

from __future__ import annotations

import gc
from typing import Any

from client import words
from client.redis.connection import connect
from settings import Settings

from .calls import OwnPrices, PriceFileError, load_list_prices, read_prices
from .cpu.route import for_llm_worker
from .jobs import Services, user_job
from .limits import configured, publish
from .options import OURS, WorkerUnusable, jobs_of_modules, shared_options, where_redis_is
from .sdks import http_client, lend
from .watchdog import Watchdog

# Objects, and younger collections, before a collection; Python's are 700, 10, 10
GC_THRESHOLDS = (20_000, 20, 50)

logger = words.logger("arq.worker")


def worker_settings(settings: Settings) -> type:
    """The class that `arq worker.WorkerSettings` runs. Raises WorkerUnusable, SettingsError, JobModuleError."""
    limits, own_prices = configured(settings), _own_prices(settings)
    watchdog = Watchdog(settings.loop_lag_warn_ms)

    async def on_startup(ctx: dict[Any, Any]) -> None:
        for key in await publish(ctx["redis"], settings, limits):
            logger.info("limit of %s: %s", key, limits[key].words() if key in limits else "taken away")
        signals = connect(where_redis_is(settings), max_connections=1, retries=0)
        ctx["services"] = services = Services.open(settings, ctx["redis"], signals, own_prices)
        lend(services.llm.http)
        ctx["http"] = http_client(
            connect_timeout_s=settings.connect_timeout_s, read_timeout_s=settings.request_timeout_s
        )
        watchdog.start()
        load_list_prices()
        _spare_the_collector()
        logger.info("%d jobs at once; %s", settings.max_jobs, _providers(settings))

    async def on_shutdown(ctx: dict[Any, Any]) -> None:
        watchdog.stop()
        if "services" in ctx:  # arq calls this after a start that failed, too
            await ctx.pop("services").close()

    theirs = [user_job(for_llm_worker(job), settings.max_tries) for job in jobs_of_modules(settings)]
    options = {
        **shared_options(settings, limits),
        "__doc__": "What `arq worker.WorkerSettings` runs, made from the environment.",
        "functions": [watchdog.watched(job) for job in (*OURS, *theirs)],
        "on_startup": on_startup,
        "on_shutdown": on_shutdown,
        "max_jobs": settings.max_jobs,
    }
    return type("WorkerSettings", (), options)


def _spare_the_collector() -> None:
    """What was imported stays, and is not gone through again: with a thousand streams a full collection took
    60 to 200 ms, in which nothing else ran."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _own_prices(settings: Settings) -> OwnPrices:
    try:
        return read_prices(settings.prices_file)
    except PriceFileError as error:
        raise WorkerUnusable(str(error)) from None


def _providers(settings: Settings) -> str:
    """Which providers can be asked. Says whether there is a key, never what it is."""
    ready = [n for n, p in settings.all_providers().items() if p.is_usable]
    return f"providers: {', '.join(ready) or 'none (no API key is set)'}"
