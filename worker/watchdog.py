"""Names the job that stops the event loop: one that computes, sleeps or waits without `await`.

While jobs run, a thread looks at the loop every half LOOP_LAG_WARN_MS. Where a task is being run, it asks the
loop to run a callback of its own, which comes after that task's step; and if the step has not ended when the
time is up, the task's coroutine is what everybody waits for. A step of one and a half times that is always
seen. A loop that waits is given nothing to do, and a worker without jobs does not even wake the thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

from .engine.run import Run, call

SILENCE_S = 10.0  # between two warnings about one function

_OURS = f"{Path(__file__).parent}{os.sep}"  # the engine's own tasks are not a job's
_CALL = call.__code__  # the frame that holds a job's run

logger = logging.getLogger("arq.worker")


class Watchdog(threading.Thread):
    """Watches the loop it is made on. `stop` it before the loop is closed."""

    def __init__(self, warn_ms: int) -> None:
        super().__init__(name="promptmill watchdog", daemon=True)
        self._warn_s = warn_ms / 1000
        self._loop = asyncio.get_running_loop()
        self._home = threading.get_ident()
        self._jobs = 0  # changed on the loop only
        self._work = threading.Event()
        self._stopped = threading.Lock()  # free once it is to stop; waiting for a lock is the cheapest tick
        self._stopped.acquire()
        self._warned_s: dict[str, float] = {}  # function → when

    @classmethod
    def over(cls, warn_ms: int) -> Watchdog | None:
        """A watchdog that watches; None where `warn_ms` is 0."""
        if not warn_ms:
            return None
        watchdog = cls(warn_ms)
        watchdog.start()
        return watchdog

    def stop(self) -> None:
        """Returns when it has ended: within milliseconds. Once only."""
        self._stopped.release()
        self._work.set()
        self.join()

    def enter(self) -> None:
        """A job starts. On the loop."""
        self._jobs += 1
        if self._jobs == 1:
            self._work.set()

    def leave(self) -> None:
        """A job has ended. On the loop."""
        self._jobs -= 1

    def run(self) -> None:
        while not self._told_to_stop(self._warn_s / 2):
            if not self._jobs:
                self._work.clear()
                if not self._jobs and self._stopped.locked():
                    self._work.wait()
                continue
            task = self._running()
            if task is None:
                continue
            turned = threading.Event()
            try:
                self._loop.call_soon_threadsafe(turned.set)
            except RuntimeError:  # the loop is closed
                return
            if turned.wait(self._warn_s) or self._running() is not task:
                continue
            self._report(task)
            while not turned.wait(self._warn_s) and self._stopped.locked():
                pass  # it is told of once

    def _running(self) -> asyncio.Task[Any] | None:
        return asyncio.current_task(self._loop)

    def _told_to_stop(self, within_s: float) -> bool:
        return self._stopped.acquire(timeout=within_s)

    def _report(self, task: asyncio.Task[Any]) -> None:
        frames = list(_stack(sys._current_frames().get(self._home)))
        found = _culprit(task, frames)
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


def hooks() -> dict[str, Any]:
    """What tells the watchdog in a worker's context that there is something to watch: hooks of arq's."""

    async def on_job_start(ctx: dict[Any, Any]) -> None:
        ctx["watchdog"].enter()

    async def on_job_end(ctx: dict[Any, Any]) -> None:
        ctx["watchdog"].leave()

    return {"on_job_start": on_job_start, "on_job_end": on_job_end}


def _culprit(task: asyncio.Task[Any], frames: list[FrameType]) -> tuple[str, str, str] | None:
    """The function, how the log names its run, and the line it is at; None where it is no job's."""
    for depth, frame in enumerate(frames):  # innermost first
        if frame.f_code is _CALL:
            run: Run = frame.f_locals["run"]
            return run.function, run.ref, _line(frames[:depth])
    coroutine: Any = task.get_coro()
    code = getattr(coroutine, "cr_code", None)  # a task that a job has started
    if code is None or code.co_filename.startswith(_OURS):
        return None
    started = next((depth for depth, frame in enumerate(frames) if frame.f_code is code), None)
    if started is None:
        return None
    name = coroutine.__qualname__
    return name, f"a task of a job, {name} ({task.get_name()}),", _line(frames[: started + 1])


def _line(frames: list[FrameType]) -> str:
    """Where a job's own code is, and, if it is deeper in somebody else's, where that is."""
    if not frames:
        return "its start"
    own = next(
        (frame for frame in reversed(frames) if not frame.f_code.co_filename.startswith(_OURS)), frames[-1]
    )
    words = _at(own)
    return words if frames[0] is own else f"{words}, in {_at(frames[0])}"


def _at(frame: FrameType) -> str:
    code = frame.f_code
    return f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}()"


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
