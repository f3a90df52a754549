"""Names the job that stops the event loop: one that computes, sleeps or waits without `await`.

While jobs run, a thread looks at the loop every half LOOP_LAG_WARN_MS. Where a task is being run, it asks the
loop to run a callback of its own, which comes after that task's step; and if the step has not ended when the
time is up, the task's coroutine is what everybody waits for. A step of one and a half times that is always
seen. A loop that waits is given nothing to do, and a worker without jobs does not even wake the thread.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

from arq.cron import CronJob
from arq.worker import Function

from client import words

from .context import Context, CoroutineFunction, R

SILENCE_S = 10.0  # between two warnings about one function

_OURS = f"{Path(__file__).parent}{os.sep}"  # the engine's own tasks are not a job's

logger = words.logger("arq.worker")


class Watchdog:
    """Watches the loop it is started on, and the functions that `watched` returns. With 0 ms it does nothing."""

    def __init__(self, warn_ms: int) -> None:
        self._warn_s = warn_ms / 1000
        self._runs: dict[
            asyncio.Task[Any] | None, tuple[Function | CronJob, Context]
        ] = {}  # changed on the loop
        self._work = threading.Event()
        self._warned_s: dict[str, float] = {}  # function → when
        self._thread: threading.Thread | None = None

    def watched(self, function: R) -> R:
        """The same job, known to the watchdog while it runs."""
        if not self._warn_s:
            return function
        coroutine: CoroutineFunction = partial(self._call, function)
        return replace(function, coroutine=coroutine)

    def start(self) -> None:
        """Call it on the loop that is to be watched, and `stop` it before that is closed."""
        if self._warn_s:
            self._loop, self._home = asyncio.get_running_loop(), threading.get_ident()
            self._stopped = threading.Lock()  # until it is to stop; waiting for a lock is the cheapest tick
            self._stopped.acquire()
            self._thread = threading.Thread(target=self._watch, name="promptmill watchdog", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Returns when it has ended: within milliseconds. Idempotent."""
        if self._thread is not None:
            self._stopped.release()
            self._work.set()
            self._thread.join()
            self._thread = None

    async def _call(
        self, function: Function | CronJob, ctx: Context, /, *args: object, **kwargs: object
    ) -> object:
        task = asyncio.current_task(self._loop)
        self._runs[task] = function, ctx
        if len(self._runs) == 1:
            self._work.set()
        try:
            return await function.coroutine(ctx, *args, **kwargs)
        finally:
            del self._runs[task]

    def _watch(self) -> None:
        while not self._stopped.acquire(timeout=self._warn_s / 2):  # until it is told to stop
            if not self._runs:
                self._work.clear()
                if not self._runs and self._stopped.locked():
                    self._work.wait()
                continue
            task = asyncio.current_task(self._loop)
            if task is None:
                continue
            turned = threading.Event()
            try:
                self._loop.call_soon_threadsafe(turned.set)
            except RuntimeError:  # the loop is closed
                return
            if turned.wait(self._warn_s) or asyncio.current_task(self._loop) is not task:
                continue
            self._report(task)
            while not turned.wait(self._warn_s) and self._stopped.locked():
                pass  # it is told of once

    def _blocking(self, task: asyncio.Task[Any], frames: list[FrameType]) -> tuple[str, str, str] | None:
        """The function, how the log names its run, and the line it is at; None where it is no job's."""
        run = self._runs.get(task)
        coroutine: Any = task.get_coro()
        code: Any = Watchdog._call.__code__ if run else getattr(coroutine, "cr_code", None)
        begun = next((depth for depth, frame in enumerate(frames) if frame.f_code is code), None)
        if begun is None:  # frames are innermost first
            return None
        if run:
            name = run[0].name
            return name, f"{run[1].job_id}:{name}", _line(frames[:begun])
        if code.co_filename.startswith(_OURS):
            return None
        name = coroutine.__qualname__  # a task that a job has started
        return name, f"a task of a job, {name} ({task.get_name()}),", _line(frames[: begun + 1])

    def _report(self, task: asyncio.Task[Any]) -> None:
        frames = list(_stack(sys._current_frames().get(self._home)))
        found = self._blocking(task, frames)
        if found is None:
            return
        function, ref, at = found
        now_s = monotonic()
        if now_s - self._warned_s.get(function, -SILENCE_S) < SILENCE_S:
            return
        self._warned_s[function] = now_s
        logger.warning(
            "%s has stopped the event loop for over %g ms, and with it every other job here, at %s: mark a "
            "function that computes with @job(cpu=True), or call what blocks with asyncio.to_thread",
            *(ref, self._warn_s * 1000, at),
        )


def _line(frames: list[FrameType]) -> str:
    """Where a job's own code is, and, if it is deeper in somebody else's, where that is."""
    if not frames:
        return "its start"
    own = [frame for frame in frames if not frame.f_code.co_filename.startswith(_OURS)] or frames
    words = _at(own[-1])
    return words if frames[0] is own[-1] else f"{words}, in {_at(frames[0])}"


def _at(frame: FrameType) -> str:
    code = frame.f_code
    return f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}()"


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
