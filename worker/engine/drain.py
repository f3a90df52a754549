"""What a worker does when it is told to stop: claim no more, let jobs end, hand the rest back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from signal import Signals
from time import monotonic
from typing import Any

from client import words

from .finish import Outbox
from .run import Run

SAME_SIGNAL_S = (
    1.0  # from the first signal: platforms, groups and parents repeat it, and mean nothing by that
)
CANCEL_LIMIT_S = 1.0  # for cancelled jobs to end; those that swallow it are not waited for
COMMIT_LIMIT_S = 4.0  # for the last outcomes to be written; what Heroku leaves after the drain

logger = words.logger("arq.worker")


class StopSignals:
    """What signals ask for: `stopping`, to drain; `hurry`, to end the drain at once."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.hurry = asyncio.Event()
        self._first_s = math.inf  # monotonic

    def hear(self, sig: Signals) -> bool:
        """Whether it says anything new. Those within SAME_SIGNAL_S of the first are the same, of whatever kind."""
        if sig == Signals.SIGUSR1:  # arq's own, for a reload: no draining
            self.hurry.set()
        elif not self.stopping.is_set():
            self._first_s = monotonic()
        elif monotonic() < self._first_s + SAME_SIGNAL_S:
            return False
        else:
            self.hurry.set()
        self.stopping.set()
        return True

    def forget(self) -> None:
        """As if no signal had come."""
        self.stopping.clear()
        self.hurry.clear()


async def drain(runs: Collection[Run], limit_s: float, hurry: asyncio.Event) -> list[Run]:
    """Waits until every run has ended, `limit_s` has passed or `hurry` is set; hands the rest back.

    What is handed back is due at once, in its old place, and has used no try. Returns the runs that did
    not end though they were cancelled.
    """
    tasks = {run.task: run for run in runs if run.task is not None}
    if tasks and limit_s > 0 and not hurry.is_set():
        hurried = asyncio.create_task(hurry.wait())
        ended = asyncio.create_task(asyncio.wait(tasks))
        await asyncio.wait((hurried, ended), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        ended.cancel()
    left = {task: run for task, run in tasks.items() if not task.done()}
    for task, run in left.items():
        run.stop = "hand back"
        task.cancel()
    if left:
        logger.info("handing %s back", words.counted(len(left), "unfinished job"))
        await asyncio.wait(left, timeout=CANCEL_LIMIT_S)
    return [run for task, run in left.items() if not task.done()]


async def commit(outbox: Outbox) -> None:
    """Writes the last outcomes. Says which are lost where Redis does not come back in time."""
    try:
        async with asyncio.timeout(COMMIT_LIMIT_S):
            await outbox.emptied()
    except TimeoutError:
        logger.error(
            "%s lost, as Redis is away: their jobs run again when their leases end",
            words.counted(len(outbox), "outcome is", "outcomes are"),
        )


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels tasks until they have ended, for ten seconds at most."""
    for _ in range(100):
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=0.1)
        if not tasks:  # 3.11's wait_for, in redis-py, can lose a cancellation
            return
