"""The jobs of the worker processes. Each writes down what becomes of it, where Redis cannot lose it."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from pathlib import Path
from typing import Any

import arq.worker

from worker import job


def _note(kind: str, ctx: dict[str, Any]) -> None:
    with Path(os.environ["RAN_FILE"]).open("a") as ran:
        ran.write(f"{kind} {ctx['job_id']} {os.getpid()} {ctx['job_try']}\n")


@job
async def nap(ctx: dict[str, Any], seconds: float) -> int:
    """Returns its try."""
    _note("start", ctx)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        _note("cancelled", ctx)
        raise
    _note("end", ctx)
    return int(ctx["job_try"])


@job
async def gated(ctx: dict[str, Any], gate: str) -> list[int]:
    """Ends when there is a file named `gate`. Returns its worker's pid and its try."""
    _note("start", ctx)
    try:
        while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        _note("cancelled", ctx)
        raise
    _note("end", ctx)
    return [os.getpid(), ctx["job_try"]]


@job
async def block(ctx: dict[str, Any], seconds: float) -> int:
    """Keeps the whole event loop busy."""
    _note("start", ctx)
    time.sleep(seconds)  # noqa: ASYNC251
    return int(ctx["job_try"])


@job
async def stubborn(ctx: dict[str, Any]) -> None:
    """Goes on, whatever happens."""
    _note("start", ctx)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            _note("cancelled", ctx)


@job
async def die(ctx: dict[str, Any]) -> None:
    """Takes its worker with it."""
    _note("start", ctx)
    os._exit(3)


def _all_objects() -> list[object]:
    gc.unfreeze()  # the worker hides what was there when it started
    return gc.get_objects()


@job
async def which() -> list[str]:
    """The classes of the workers in this process."""
    return [
        f"{type(o).__module__}.{type(o).__name__}" for o in _all_objects() if isinstance(o, arq.worker.Worker)
    ]
