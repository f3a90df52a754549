"""Wiring: Settings → what `arq worker.WorkerSettings` runs."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

from client import Limit, words
from client.redis.connection import connect
from settings import Settings

from .calls import OwnPrices, PriceFileError, load_list_prices, read_prices
from .context import R
from .cpu.route import for_llm_worker
from .hooks import KINDS, Hook, hooks_of, registered_crons, together
from .jobs import SERVICES, Services, user_job
from .limits import configured, publish
from .options import OURS, WorkerUnusable, jobs_of_modules, shared_options, told_by_arq, where_redis_is
from .own_settings import attributes, passed, with_own
from .sdks import http_client, lend
from .watchdog import Watchdog

# Objects, and younger collections, before a collection; Python's are 700, 10, 10
GC_THRESHOLDS = (20_000, 20, 50)

logger = words.logger("arq.worker")


def worker_settings(settings: Settings) -> type:
    """The class that `arq worker.WorkerSettings` runs, also as the base of one's own. Raises WorkerUnusable,
    SettingsError, JobModuleError."""

    def adopt(cls: type) -> None:
        """arq reads what a class itself has, and nothing that it inherits."""
        with told_by_arq():
            own = attributes(cls, made)
            for name, value in {"__said__": own, **_options(settings, own)}.items():
                setattr(cls, name, value)

    doc = "What `arq worker.WorkerSettings` runs, made from the environment."
    made = type(
        "WorkerSettings",
        (),
        {"__doc__": doc, "__init_subclass__": classmethod(adopt), **_options(settings, {})},
    )
    return made


def _options(settings: Settings, own: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the engine; `own` are the attributes of a class on top of ours."""
    settings = with_own(settings, own)
    theirs = jobs_of_modules(settings, own)
    keys = where_redis_is(settings).keys
    names = {name: keys.own(own[name]) for name in ("queue_name", "health_check_key") if own.get(name)}
    queue = names.setdefault("queue_name", keys.queue)
    watchdog = Watchdog(settings.loop_lag_warn_ms)
    limits = configured(settings)
    hooks = {kind: hooks_of(kind, own) for kind in KINDS}
    for kind, hook in _own_hooks(settings, limits, watchdog, queue if keys.is_named(queue) else None).items():
        hooks[kind].insert(0, hook)
    crons = [*registered_crons(), *(own.get("cron_jobs") or ())]
    return {
        **shared_options(settings, limits),
        "functions": [
            watchdog.watched(job) for job in (*OURS, *(_complete(job, settings) for job in theirs))
        ],
        "cron_jobs": [watchdog.watched(_complete(job, settings)) for job in crons],
        "max_jobs": settings.max_jobs,
        **{kind: together(kind, each) for kind, each in hooks.items()},
        **passed(own),
        **names,
    }


def _own_hooks(
    settings: Settings, limits: dict[str, Limit], watchdog: Watchdog, queue: str | None
) -> dict[str, Hook]:
    own_prices = _own_prices(settings)

    async def on_startup(ctx: dict[Any, Any]) -> None:
        for key in await publish(ctx["redis"], settings, limits):
            logger.info("limit of %s: %s", key, limits[key].words() if key in limits else "taken away")
        signals = connect(where_redis_is(settings), max_connections=1, retries=0)
        ctx[SERVICES] = services = Services.open(settings, ctx["redis"], signals, own_prices)
        lend(services.llm.http)
        ctx["http"] = http_client(
            connect_timeout_s=settings.connect_timeout_s, read_timeout_s=settings.request_timeout_s
        )
        watchdog.start()
        load_list_prices()
        _spare_the_collector()
        logger.info("%d jobs at once; %s", settings.max_jobs, _providers(settings))
        if queue is not None:
            logger.warning(
                "This worker serves the queue %s alone: chats, embeddings and whatever is enqueued without that "
                "name wait for a worker without queue_name.",
                queue,
            )

    async def on_shutdown(ctx: dict[Any, Any]) -> None:
        watchdog.stop()
        if SERVICES in ctx:  # arq calls this after a start that failed, too
            await ctx.pop(SERVICES).close()

    return {"on_startup": on_startup, "on_shutdown": on_shutdown}


def _complete(job: R, settings: Settings) -> R:
    return user_job(for_llm_worker(job), settings.max_tries)


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
