"""The jobs that run here: how each is started, cancelled and concluded. Knows nothing of the loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Literal

from arq.cron import CronJob
from arq.worker import Function

from client import words
from client.redis.strange import nothing_if_strange
from client.wire.record import now_ms
from worker.context import Context
from worker.unreachable import UNREACHABLE

from . import aborts, run
from .aside import Aside
from .complaints import Complaints
from .finish import Outbox
from .pace import Pace
from .renew import Lost
from .report import Reporter
from .run import Ended, Policy, Run
from .scripts import Claimed, Lease, Outcome, Parts
from .telling import tell_end
from .too_large import fitting

LEAVE_LIMIT_S = 2.0  # for hooks, and for runs that were lost, to end before the worker does

logger = words.logger("arq.worker")


class Crew(Reporter):
    """arq's Worker with another way to carry out jobs; Engine adds the loop."""

    make_context: type[Context]
    stream_ttl_s: float
    max_result_bytes: int
    _outbox: Outbox

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.runs: dict[str, Run] = {}
        self.held: dict[str, Lease] = {}  # runs, and outcomes not yet written: all that is to be renewed
        self._afterwards: dict[Lease, Context] = {}  # what after_job_end is to be called with
        self._background: set[asyncio.Task[None]] = set()
        self._pace, self._aside, self._complaints = Pace(), Aside(), Complaints()
        self._woken = asyncio.Event()
        self._wants_more = False  # the last claim left due jobs behind
        self._overdue_s = -math.inf  # when unread jobs were last looked for; monotonic
        self._epoch = ""  # as the last claim told
        self._loss_reported_at_s = -math.inf  # that Redis has lost its data; monotonic
        self._policy = Policy(
            timeout_s=self.job_timeout_s,
            max_tries=self.max_tries,
            keep_result_s=self.keep_result_s,
            keep_result_forever=self.keep_result_forever,
            stream_ttl_s=self.stream_ttl_s,
            retry_jobs=self.retry_jobs,
        )

    # -- a run ---------------------------------------------------------------------------------------

    def _start(self, claimed: Claimed) -> None:
        job_id = claimed.lease.job_id
        if (stale := self.runs.pop(job_id, None)) is not None:  # our own lease had lapsed
            self._cancel(stale, "lost")
        if claimed.crashes:
            logger.warning("%s was running on a worker that died, or lost its lease: it runs again", job_id)
        self.runs[job_id] = current = Run(claimed, self._epoch, self.keys)
        self.held[job_id] = claimed.lease
        current.task = self.tasks[job_id] = self.loop.create_task(self._run(current))
        current.task.add_done_callback(lambda task: self._reap(current, task))

    async def _run(self, current: Run) -> None:
        await self._pace.turn()
        self._conclude(current, await self._carry_out(current))

    def _reap(self, current: Run, task: asyncio.Task[None]) -> None:
        """Concludes a run whose task did not: it was cancelled before its first step, or in a hook."""
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: the engine itself failed", current.ref, exc_info=error)
        if self.runs.get(current.lease.job_id) is current:
            self._conclude(current, current.ended or self._stopped(current))

    def _stopped(self, current: Run) -> Ended:
        return run.failed(current, asyncio.CancelledError(), None, self._policy)

    async def _carry_out(self, current: Run) -> Ended:
        try:
            if current.claimed.payload is None:
                with nothing_if_strange():
                    current.last = await self.pool.get(self.keys.last(current.lease.job_id))
            function = run.read(current, self.functions, self._policy)
        except (Exception, asyncio.CancelledError) as error:
            return self._failed(current, error, None)
        ctx = run.context(
            current, self.ctx, self.make_context, lambda parts: self._outbox.put(Parts(current.lease, parts))
        )
        if self.after_job_end:
            self._afterwards[current.lease] = ctx
        try:
            if self.on_job_start:
                await self.on_job_start(ctx)
            logger.debug("→ %s try=%d", current, current.job_try)
            current.started_ms = now_ms()
            result = await run.call(current, function, ctx, self._policy)
            current.ended = run.succeeded(current, result, function, self._policy)
            logger.debug("← %s", current)
        except (GeneratorExit, KeyboardInterrupt):  # the whole process ends
            raise
        except BaseException as error:  # a job's SystemExit is not the worker's
            current.ended = self._failed(current, error, function)
        if self.on_job_end:
            try:
                await self.on_job_end(ctx)
            except Exception:
                logger.exception("%s: on_job_end failed", current.ref)
        return current.ended

    def _failed(self, current: Run, error: BaseException, function: Function | CronJob | None) -> Ended:
        ended = run.failed(current, error, function, self._policy)
        tell_end(current, ended, error)
        return ended

    def _conclude(self, current: Run, ended: Ended) -> None:
        """Hands the outcome over, unless the job is no longer this run's."""
        job_id = current.lease.job_id
        mine = self.runs.get(job_id) is current
        if mine:
            del self.runs[job_id]
            self.tasks.pop(job_id, None)
        if mine and current.stop != "lost":
            ended = fitting(ended, self.max_result_bytes)
            self._count(ended)
            self._outbox.put(ended.outcome)
        else:
            self._forget(current.lease)
        if self._wants_more:
            self._woken.set()

    def _forget(self, lease: Lease) -> Context | None:
        """Renews the lease no longer. Returns what after_job_end is to be called with."""
        if self.held.get(lease.job_id) is lease:
            del self.held[lease.job_id]
        return self._afterwards.pop(lease, None)

    def _count(self, ended: Ended) -> None:
        match ended.ending:
            case "complete":
                self.jobs_complete += 1
            case "failed":
                self.jobs_failed += 1
            case "retried" | "handed back":
                self.jobs_retried += 1
            case "left unread":
                self._tell_of_unread(1)

    def _jobs_started(self) -> int:
        return self.jobs_complete + self.jobs_retried + self.jobs_failed + len(self.runs)

    def _may_be_overdue(self) -> bool:
        """Whether it is time to look for unread jobs whose deadline has passed: as often as the queue is polled."""
        now_s = monotonic()
        if now_s < self._overdue_s + self.poll_delay_s:
            return False
        self._overdue_s = now_s
        return True

    def _on_written(self, outcome: Outcome, accepted: bool) -> None:
        """The outcome is written, or was refused."""
        ctx = self._forget(outcome.lease)
        if outcome.verb in ("retry", "again") and (wait_s := outcome.delay_ms / 1000) < self.poll_delay_s:
            self.loop.call_later(wait_s, self._woken.set)  # sooner than the poll would see it
        if ctx is not None:
            self._in_background(self._after(ctx))
        if self._wants_more or (self.burst and not self.held):
            self._woken.set()

    async def _after(self, ctx: Context) -> None:
        assert self.after_job_end is not None
        try:
            await self.after_job_end(ctx)
        except Exception:
            logger.exception("%s: after_job_end failed", ctx.job_id)

    # -- runs that are to stop -------------------------------------------------------------------------

    def _cancel(self, current: Run, why: Literal["abort", "hand back", "lost"]) -> None:
        if current.stop is None and current.task is not None:
            current.stop = why
            current.task.cancel()

    def _hear_abort(self, job_id: str) -> None:
        """Somebody says so, on a channel that other databases may use, too (keys.py): Redis is asked."""
        if (current := self.runs.get(job_id)) is not None:
            self._in_background(self._abort_if_asked(current))

    async def _abort_if_asked(self, current: Run) -> None:
        with suppress(*UNREACHABLE):  # the request stays, and is found later
            asked_ms = await self.pool.zscore(self.keys.aborts, current.lease.job_id)
            if asked_ms is not None and current.is_meant(asked_ms):
                self._abort(current.lease.job_id)

    def _abort(self, job_id: str) -> None:
        if self.allow_abort_jobs and (current := self.runs.get(job_id)) is not None:
            self._cancel(current, "abort")

    async def _find_aborts(self) -> None:
        """Cancels runs that plain arq clients want aborted."""
        for job_id, asked_ms in await aborts.asked_for(self.pool, self.keys.aborts):
            current = self.runs.get(job_id)
            if current is not None and current.is_meant(asked_ms):
                self._cancel(current, "abort")

    def _lose(self, lost: Lost) -> None:
        """Leases that are no longer ours: whatever these runs bring would be refused."""
        taken = [lease for lease in lost.taken if self._runs_under(lease)]
        unknown = [lease for lease in lost.unknown if self._runs_under(lease)]
        epochs = [self.runs[lease.job_id].epoch for lease in unknown]
        for lease in taken + unknown:
            self._cancel(self.runs[lease.job_id], "lost")
        for lease in filter(self._runs_under, lost.slotless):
            logger.warning("%s: its slots were taken away; it goes back to its lane", lease.job_id)
            self._cancel(self.runs[lease.job_id], "hand back")
        if taken:
            logger.warning(
                "the leases of %s were lost; they run elsewhere by now", words.counted(len(taken), "job")
            )
        if unknown:
            self._in_background(self._explain(epochs))

    async def _explain(self, epochs: list[str]) -> None:
        """Runs whose leases nobody has, by the epochs in which they were claimed. Where the epoch is the same, Redis
        has kept its data: others have run these jobs while this worker stood still."""
        now: str | None = None
        with suppress(*UNREACHABLE), nothing_if_strange():
            now = (await self.pool.get(self.keys.epoch) or b"").decode(errors="replace").partition(" ")[0]
        lost = sum(epoch != now for epoch in epochs) if now is not None else 0
        if elsewhere := len(epochs) - lost:
            logger.warning(
                "the leases of %s were lost; they have ended elsewhere, or wait there",
                words.counted(elsewhere, "job"),
            )
        if lost:
            self._loss_reported_at_s = monotonic()
            logger.error(
                "Redis no longer knows %d of the jobs that run here: it has lost its data; they are cancelled",
                lost,
            )

    def _keep_mine(self, leases: Sequence[Lease]) -> None:
        """Leases of ours that had ended, and nobody else has. What does not run here goes back: its claim was lost."""
        for lease in leases:
            if (held := self.held.get(lease.job_id)) is None or held.token != lease.token:
                self._outbox.put(Outcome(lease, "back"))

    def _runs_under(self, lease: Lease) -> bool:
        return (current := self.runs.get(lease.job_id)) is not None and current.lease is lease

    def _abandon(self, stubborn: Run) -> None:
        """Hands a job back that goes on though it was cancelled; the process ends in a moment."""
        logger.warning("%s does not end though it was cancelled: it is handed back", stubborn.ref)
        self._conclude(stubborn, self._stopped(stubborn))

    def _in_background(self, coroutine: Coroutine[object, None, None]) -> None:
        task = self.loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _leave(self) -> None:
        """Cancels what still runs, which happens after failures only, and forgets it; lets hooks end."""
        left = [current.task for current in self.runs.values() if current.task is not None]
        for current in list(self.runs.values()):
            self._cancel(current, "lost")
        if waiting := {*left, *self._background}:
            await asyncio.wait(waiting, timeout=LEAVE_LIMIT_S)
        for rest in (self.runs, self.held, self.tasks, self._afterwards):
            rest.clear()
