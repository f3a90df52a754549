"""Wiring: Settings → what `arq worker.CpuWorkerSettings` runs."""

from __future__ import annotations

import os
from typing import Any

import click

from client import words
from settings import Settings
from worker.limits import configured
from worker.options import OURS, jobs_of_modules, shared_options, where_redis_is
from worker.registry import CpuFunction

from .child import can_limit_memory
from .pool import Pool
from .process import ChildUnusable
from .route import LANE, for_cpu_worker

logger = words.logger("arq.worker")


def cpu_worker_settings(settings: Settings) -> type:
    """The class that `arq worker.CpuWorkerSettings` runs. Raises WorkerUnusable, SettingsError, JobModuleError."""
    functions = [*OURS, *jobs_of_modules(settings)]
    computing = [function.name for function in functions if isinstance(function, CpuFunction)]
    processes = settings.cpu_processes or os.cpu_count() or 1
    pool = Pool(
        settings.job_modules, processes=processes if computing else 0, memory_mb=settings.cpu_memory_mb
    )

    async def on_startup(ctx: dict[Any, Any]) -> None:
        try:
            await pool.open()
        except ChildUnusable as error:
            raise click.ClickException(str(error)) from None
        if not computing:
            logger.warning("Nothing to do here: no job of JOB_MODULES is marked with @job(cpu=True).")
            return
        if settings.cpu_memory_mb and not can_limit_memory():
            logger.warning("CPU_MEMORY_MB has no effect: only Linux can limit the memory of a process.")
        logger.info("%d processes for CPU jobs: %s", processes, ", ".join(computing))

    async def on_shutdown(ctx: dict[Any, Any]) -> None:
        await pool.close()

    options = {
        **shared_options(settings, configured(settings)),
        "__doc__": "What `arq worker.CpuWorkerSettings` runs, made from the environment.",
        "functions": [for_cpu_worker(job, pool, timeout_s=settings.job_timeout_s) for job in functions],
        "queue_name": where_redis_is(settings).keys.lane(LANE),
        "on_startup": on_startup,
        "on_shutdown": on_shutdown,
        "max_jobs": processes,
    }
    return type("CpuWorkerSettings", (), options | {"__init_subclass__": classmethod(_refuse)})


def _refuse(cls: type) -> None:
    raise click.ClickException(
        "worker.CpuWorkerSettings is no base for a class of one's own: its jobs are those of JOB_MODULES."
    )
