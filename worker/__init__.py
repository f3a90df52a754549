"""The worker: `arq worker.WorkerSettings` runs it, `from worker import job` adds jobs to it.

WorkerSettings is made from the environment when it is first asked for, so that a module of jobs can
import `job` without any setting being read, and checks that Redis answers: arq's own report is a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import JobModuleError, job

if TYPE_CHECKING:
    WorkerSettings: type

__all__ = ["JobModuleError", "WorkerSettings", "job"]


def __getattr__(name: str) -> Any:
    if name != "WorkerSettings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = _from_environment()
    return globals()[name]


def _from_environment() -> type:
    """Raises click.ClickException, which arq's CLI shows as one sentence with exit code 1."""
    import click

    from client import InvalidRedisURL, QueueUnavailable
    from settings import SettingsError, load

    from .app import WorkerUnusable, reach_redis, worker_settings
    from .engine import install

    try:
        settings = load()
        made = worker_settings(settings)
        reach_redis(settings)
        install()
        return made
    except (InvalidRedisURL, QueueUnavailable) as error:
        raise click.ClickException(f"REDIS_URL: {error}") from None
    except (SettingsError, WorkerUnusable, JobModuleError) as error:
        raise click.ClickException(str(error)) from None
