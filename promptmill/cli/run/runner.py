"""The run itself: a window of jobs kept full, answers written as they come, one consumer.

    feed ─ lines ─→ queue ─ window, one waiting task a job ─ outcomes ─→ writer ─→ disk ─→ forget

However it ends (killed, stopped, disk full, Redis gone), the same command goes on where it was: job
ids are the same again, so what is in Redis is neither sent nor paid for twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from client.errors import QueueUnavailable

from .feed import Feed, LineJob
from .halt import Refusals, RefusedInARow, take_back
from .options import InputError, OutputError
from .plan import Plan
from .progress import PlainProgress
from .sender import RunQueue, Sender
from .summary import RunSummary, summarise
from .tally import Tally
from .window import Window
from .writer import LineOutcome, Writer

WINDOW_BYTES = 32 * 2**20  # of requests in flight: large prompts narrow the window
CHUNK_JOBS = 500  # at most so many are sent at a time
COMMIT_ANSWERS = 256  # so many answers are synced at once, without waiting for the tick
NO_WORKER = (
    "No answer so far, and no worker seems to be running: start one with `arq worker.WorkerSettings`. "
    "What is sent waits in the queue."
)


@dataclass(frozen=True)
class Timing:
    """How long a run waits, in seconds."""

    tick_s: float = 0.5  # between two looks at the clock: answers are synced, the progress is shown
    silence_s: float = 30.0  # without any answer: then we look whether there is a worker
    patience_s: float = 30.0  # for a server that refuses our jobs
    clock: Callable[[], float] = time.monotonic


class StopSignal:
    """Asked for once, it stays asked for. Belongs to one event loop."""

    def __init__(self) -> None:
        self.is_requested = False
        self._listeners: list[Callable[[], object]] = []

    def request(self) -> None:
        """Asks the run to send nothing more, to write what has arrived, and to end."""
        self.is_requested = True
        for listener in self._listeners:
            listener()

    def listen(self, listener: Callable[[], object]) -> None:
        """`listener` is called at each request."""
        self._listeners.append(listener)


async def run(
    plan: Plan, queue: RunQueue, *, progress: PlainProgress, stop: StopSignal, timing: Timing | None = None
) -> RunSummary:
    """Sends what is pending and writes what comes back, until all is answered or `stop` is requested.

    Never raises for what can go wrong on the way (disk full, Redis gone): the summary's `problem` says
    it. Cancelling keeps every answer that has arrived. In each case the plan can be run again.
    Raises InputError, before the first call, where the output cannot be written.
    """
    return await _Run(plan, queue, progress, stop, timing or Timing()).run()


def conclude(plan: Plan) -> RunSummary:
    """The end of a plan that has nothing to send. Raises InputError, OutputError."""
    tally = Tally(0)
    writer = Writer(plan, tally, _forget_nothing)
    try:
        writer.tidy()
    finally:
        writer.close()
    plan.sidecar.remove()
    return summarise(plan, tally)


async def _forget_nothing(job_ids: Iterable[str]) -> None:
    pass


class _Run:
    def __init__(
        self, plan: Plan, queue: RunQueue, progress: PlainProgress, stop: StopSignal, timing: Timing
    ) -> None:
        self._plan = plan
        self._queue = queue
        self._progress = progress
        self._stop = stop
        self._timing = timing
        self._now_s = timing.clock
        self._tally = Tally(plan.report.pending)
        self._writer = Writer(plan, self._tally, queue.forget)
        self._feed = Feed(plan)
        self._wake = asyncio.Event()
        self._window = Window(self._wake.set)
        self._refusals = Refusals()
        self._sender = Sender(
            queue,
            self._window,
            limits=plan.options.limits,
            patience_s=timing.patience_s,
            clock=timing.clock,
        )
        self._window_jobs = plan.options.window_jobs(plan.settings)
        self._chunk_jobs = max(1, min(CHUNK_JOBS, self._window_jobs // 4))
        self._ticked_s = self._heard_s = self._now_s()
        self._has_warned = False
        stop.listen(self._wake.set)

    async def run(self) -> RunSummary:
        problem: str | None = None
        is_complete = False
        try:
            self._plan.sidecar.touch()
            with self._progress:
                try:
                    is_complete = await self._work()
                    await self._flush()
                    self._refusals.check()
                except RefusedInARow as refusal:
                    problem = await self._halt(refusal)
                except (OutputError, InputError, QueueUnavailable) as error:
                    problem = await self._break_off(error)
            if is_complete and problem is None:
                self._plan.sidecar.remove()
        finally:  # all that is left to do where we were cancelled, nothing otherwise
            await self._window.close()
            with suppress(OutputError):
                self._writer.write(self._window.take_arrived())
                self._writer.sync()
            self._writer.close()
        is_interrupted = problem is None and not is_complete
        return summarise(self._plan, self._tally, is_interrupted=is_interrupted, problem=problem)

    async def _work(self) -> bool:
        """Returns True when every line has its end, False when it is asked to stop."""
        while not self._stop.is_requested:
            self._wake.clear()
            self._write_arrived()
            await self._look_at_clock()
            if await self._refill():
                await asyncio.sleep(0)
            elif self._feed.is_exhausted and not (
                len(self._window) or self._sender.unsent or self._wake.is_set()
            ):
                return True
            else:
                await self._wait()
        return False

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timing.tick_s):
                await self._wake.wait()

    async def _flush(self) -> None:
        """Stops waiting, and brings what has arrived to the disk."""
        self._tally.in_flight = await self._window.close(grace_s=self._timing.tick_s)
        self._write(self._window.take_arrived())
        if not self._refusals.reason:
            self._writer.write(self._refusals.release())
        await self._writer.commit()
        self._writer.tidy()
        self._progress.update(self._tally)

    async def _halt(self, refusal: RefusedInARow) -> str:
        """Takes back what is queued. A new run then sends it under new ids, so no old refusal is its answer."""
        try:
            await take_back(self._window.jobs())
            await self._flush()
            await self._queue.forget(held.line_job.job_id for held in self._refusals.release())
        except (OutputError, QueueUnavailable) as error:
            return f"{refusal} {error}"
        self._plan.sidecar.remove()
        return f"{refusal} Then run the same command again: it goes on with what is left."

    async def _break_off(self, error: Exception) -> str:
        if isinstance(error, OutputError):  # what has arrived could not be written: it waits in Redis
            self._tally.in_flight = await self._window.close() + len(self._window.take_arrived())
            return str(error)
        try:
            await self._flush()
        except OutputError as second:
            return f"{error} {second}"
        return f"{error} Every answer so far is kept: run the same command again to resume."

    def _write_arrived(self) -> None:
        self._write(self._window.take_arrived())
        if self._window.outage:
            raise self._window.outage
        self._refusals.check()

    def _write(self, outcomes: list[LineOutcome]) -> None:
        if outcomes:
            self._writer.write(self._refusals.sift(outcomes))
            self._heard_s = self._tally.last_answer_s = self._now_s()

    async def _look_at_clock(self) -> None:
        now_s = self._now_s()
        is_tick = now_s - self._ticked_s >= self._timing.tick_s
        if is_tick or self._writer.uncommitted >= COMMIT_ANSWERS:
            await self._writer.commit()
        if is_tick:
            self._ticked_s = now_s
            self._show()
            await self._look_for_worker()

    def _show(self) -> None:
        self._tally.in_flight = len(self._window)
        self._tally.sample(self._now_s())
        self._progress.update(self._tally)

    async def _look_for_worker(self) -> None:
        if self._has_warned or not len(self._window):
            return
        if self._now_s() - self._heard_s >= self._timing.silence_s:
            with suppress(QueueUnavailable):
                self._has_warned = not await self._queue.workers_alive()
            if self._has_warned:
                self._progress.note(NO_WORKER)
            self._heard_s = self._now_s()

    async def _refill(self) -> bool:
        """Sends the next chunk where there is room for one; whether there may be more to do at once."""
        line_jobs = self._next_jobs()
        if not line_jobs:
            return not self._feed.is_exhausted and self._has_room()
        if self._tally.first_call_s is None:
            self._tally.first_call_s = self._heard_s = self._now_s()
        self._refusals.sent(line_jobs)
        return await self._sender.send(line_jobs)

    def _has_room(self) -> bool:
        room_jobs = self._window_jobs - len(self._window)
        return room_jobs >= self._chunk_jobs and self._window.size_bytes < WINDOW_BYTES

    def _next_jobs(self) -> list[LineJob]:
        again = self._sender.unsent or self._window.lost
        if again:
            chunk = again[: self._chunk_jobs]
            del again[: self._chunk_jobs]
            return chunk
        if self._feed.is_exhausted or not self._has_room():
            return []
        room_jobs = self._window_jobs - len(self._window)
        return self._feed.take(min(self._chunk_jobs, room_jobs), WINDOW_BYTES - self._window.size_bytes)
