"""Settings → what the worker for LLM calls and the one for CPU jobs are told alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from arq.worker import Function, func

from client import InvalidRedisURL, Limit, QueueUnavailable, SyncQueue, decode, encode
from client.arq import settings_at
from client.redis.url import ServerAddress, server_address
from promptmill.names import NameTaken
from settings import Settings, SettingsError

from .context import CoroutineFunction
from .jobs import JobContext, chat, embed
from .limits import aliases, publish
from .registry import JobModuleError, load

HEALTH_EVERY_S = 10  # `arq --check` and `promptmill doctor` notice a dead worker within a second more
_OURS: tuple[CoroutineFunction, ...] = (chat, embed)
OURS = [func(job, name=job.__name__) for job in _OURS]


class WorkerUnusable(Exception):
    """The worker cannot start. One sentence."""


def shared_options(settings: Settings, limits: dict[str, Limit]) -> dict[str, Any]:
    """The parameters of the engine that both workers have in common, by arq's names. Raises WorkerUnusable."""

    async def on_data_lost(ctx: dict[Any, Any]) -> None:
        await publish(ctx["redis"], settings, limits)

    return {
        "redis_settings": settings_at(where_redis_is(settings)),
        "max_tries": settings.max_tries,
        "job_timeout": settings.job_timeout_s,
        "keep_result": settings.result_ttl_s,
        "drain_s": settings.drain_s,
        "lease_s": settings.lease_s,
        "outage_s": settings.redis_outage_s,
        "stream_ttl_s": settings.stream_ttl_s,
        "max_result_bytes": settings.max_result_mb * 1_000_000,
        "on_data_lost": on_data_lost,
        "models": tuple(aliases(settings).values()),
        "make_context": JobContext,
        "allow_abort_jobs": True,
        "health_check_interval": HEALTH_EVERY_S,
        "job_serializer": encode,
        "job_deserializer": decode,
        "log_results": False,  # an answer is the caller's, not the log's
    }


@contextmanager
def told_by_arq() -> Iterator[None]:
    """What keeps a worker from starting as click's exception: arq's CLI shows it as one sentence, with exit code 1."""
    try:
        yield
    except (InvalidRedisURL, QueueUnavailable) as error:
        raise click.ClickException(f"REDIS_URL: {error}") from None
    except (SettingsError, NameTaken, WorkerUnusable, JobModuleError) as error:
        raise click.ClickException(str(error)) from None


def jobs_of_modules(settings: Settings, own: Mapping[str, Any] | None = None) -> Sequence[Function]:
    """The jobs that JOB_MODULES register, and the functions of a settings class. Raises JobModuleError."""
    theirs = load(settings.job_modules)
    listed = [_function(each) for each in (own or {}).get("functions") or ()]
    names = {function.name for function in listed}
    theirs = [*(function for function in theirs if function.name not in names), *listed]
    for taken in {job.name for job in OURS} & {job.name for job in theirs}:
        raise JobModuleError(
            f"A job of JOB_MODULES is named {taken!r}, as one of promptmill's own: give it another name "
            "with @job(name=…)."
        )
    return theirs


def _function(listed: Any) -> Function:
    try:
        return func(listed)
    except RuntimeError as error:
        raise JobModuleError(
            f"WorkerSettings.functions: {error}; a plain function that computes is a job with @job(cpu=True)."
        ) from None


def reach_redis(settings: Settings) -> None:
    """Returns once the server answers, however it is asked for. Blocks for some 4 s at most.

    arq would write a traceback where it cannot connect. Raises QueueUnavailable with the reason.
    """
    with SyncQueue.from_url(_url(settings), ssl_cert_reqs=settings.redis_ssl_cert_reqs) as queue:
        queue.ping()


def where_redis_is(settings: Settings) -> ServerAddress:
    """Raises WorkerUnusable where REDIS_URL is not set, InvalidRedisURL."""
    return server_address(_url(settings), ssl_cert_reqs=settings.redis_ssl_cert_reqs)


def _url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise WorkerUnusable("REDIS_URL is not set: set it, or start a private stack with `promptmill up`.")
    return settings.redis_url.get_secret_value()
