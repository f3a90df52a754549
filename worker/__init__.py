"""The workers: `arq worker.WorkerSettings` and `arq worker.CpuWorkerSettings`; `from worker import job` adds jobs,
`cron` cron jobs, and `on_startup` and the like hooks.

Both are made from the environment when they are first asked for, so that a module of jobs can
import `job` without any setting being read, and check that Redis answers: arq's own report is a traceback.
`Context`, which is what jobs get as `ctx`, and `http_client` and `httpx2_client`, for the SDKs that jobs call, are
imported when they are first asked for, too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .hooks import after_job_end, cron, on_job_end, on_job_start, on_shutdown, on_startup
from .registry import JobModuleError, job

if TYPE_CHECKING:
    from .context import Context
    from .sdks.connections import http_client
    from .sdks.sdk_httpx2 import httpx2_client

    CpuWorkerSettings: type
    WorkerSettings: type

__all__ = [
    "Context",
    "CpuWorkerSettings",
    "JobModuleError",
    "WorkerSettings",
    "after_job_end",
    "cron",
    "http_client",
    "httpx2_client",
    "job",
    "on_job_end",
    "on_job_start",
    "on_shutdown",
    "on_startup",
]

_LAZY = {"Context": ".context", "http_client": ".sdks.connections", "httpx2_client": ".sdks.sdk_httpx2"}

if not TYPE_CHECKING:  # a checker would believe in every name

    def __getattr__(name: str) -> object:
        if name in _LAZY:
            globals()[name] = getattr(importlib.import_module(_LAZY[name], __name__), name)
        elif name in ("CpuWorkerSettings", "WorkerSettings"):
            globals()[name] = _from_environment(name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals()[name]


def _from_environment(name: str) -> type:
    """Raises click.ClickException, which arq's CLI shows as one sentence with exit code 1."""
    import click

    from promptmill.names import NameTaken, refuse_hidden, refuse_others

    try:
        refuse_others()
    except NameTaken as error:
        raise click.ClickException(str(error)) from None
    from settings import load

    from .app import worker_settings
    from .cpu.app import cpu_worker_settings
    from .engine import install
    from .options import reach_redis, told_by_arq

    with told_by_arq():
        settings = load()
        if settings.job_modules:
            refuse_hidden()
        made = worker_settings(settings) if name == "WorkerSettings" else cpu_worker_settings(settings)
        reach_redis(settings)
        install()
        return made
