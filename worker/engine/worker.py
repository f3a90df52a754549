"""The engine's loop: claim, start, wait to be woken."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from signal import Signals
from time import monotonic
from typing import Any, ClassVar
from uuid import uuid4

import click
from arq import ArqRedis
from arq.worker import Worker
from redis.exceptions import RedisError

from client import words
from client.arq import pool_at
from client.errors import QueueUnavailable
from worker.context import Context
from worker.unreachable import UNREACHABLE, as_unreachable

from . import drain, wake
from .crew import Crew
from .finish import Outbox
from .outage import Outage, RedisGone
from .pool import address_of
from .renew import Renewer
from .scripts import EngineScripts

BATCH = 500  # jobs a claim: a few milliseconds of the server's time
REPLY_LIMIT_S = 1.0  # for the reply to the last claim, once the worker has been told to stop
HEALTH_KEY_LIMIT_S = 0.5  # for taking the health check's key away
HOLD_EXTRA_S = 3_600  # how much longer than any job its crash can be told from a first start

logger = words.logger("arq.worker")


class Engine(Crew):
    """arq's Worker, with another loop. Takes arq's parameters and eight of its own.

    :param lease_s: how long a job is this worker's without being renewed; renewed every third of it
    :param drain_s: how long running jobs may go on after TERM or INT
    :param outage_s: how long Redis may be away before the worker gives up
    :param stream_ttl_s: how long a stream can be read after its end
    :param max_result_bytes: a larger outcome fails its job
    :param on_data_lost: called with arq's context when Redis has lost its data: what was configured is gone
    :param models: the models, as provider/model, of chats and embeddings whose lanes name none
    :param make_context: what the context of a run is made of, for jobs that want more than arq's

    Four connections at most: two for commands (the jobs' own `ctx["redis"]` included), one that
    listens, one that renews.
    """

    __signature__: ClassVar[inspect.Signature]

    def __init__(
        self,
        *args: Any,
        lease_s: float = 15,
        drain_s: float = 20,
        outage_s: float = 300,
        stream_ttl_s: float = 600,
        max_result_bytes: int = 250_000_000,
        on_data_lost: Callable[[dict[Any, Any]], Awaitable[None]] | None = None,
        models: tuple[str, str] = ("", ""),
        make_context: type[Context] = Context,
        **kwargs: Any,
    ) -> None:
        self.stream_ttl_s = stream_ttl_s
        super().__init__(*args, **kwargs)
        self.lease_s = lease_s
        self.drain_s = drain_s
        self.outage_s = outage_s
        self.max_result_bytes = max_result_bytes
        self.on_data_lost = on_data_lost
        self.models = models
        self.make_context = make_context
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
        self._signals = drain.StopSignals()
        self._stopping = self._signals.stopping

    # -- life ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Runs until told to stop. What ends it otherwise is one sentence on arq's command line."""
        try:
            super().run()
        except (QueueUnavailable, RedisGone) as error:
            raise click.ClickException(str(error)) from None

    async def main(self) -> None:
        """Runs until told to stop, or, in burst mode, until nothing is queued."""
        self._outage = Outage(limit_s=self.outage_s)
        self._pool = self._pool or pool_at(address_of(self.redis_settings))
        self._pool.default_queue_name = self.queue_name
        self._pool.expires_extra_ms = self.expires_extra_ms
        await self.meet_redis()
        self.ctx["redis"] = self.pool
        if self.on_startup:
            await self.on_startup(self.ctx)
        await self._with_rooms(self.pool)

    async def _with_rooms(self, pool: ArqRedis) -> None:
        """Opens the rooms around the loop, and closes them in the order that loses nothing."""
        address = address_of(self.redis_settings or pool)
        self._scripts = EngineScripts(pool, self.keys)
        self._outbox = Outbox(self._scripts, self._outage, self._on_written)
        self._renewer = renewer = Renewer(address, self.held, self._lose, lease_s=self.lease_s)
        renewer.start()
        self._rooms = [
            asyncio.create_task(wake.listen(address, wake=self._woken.set, abort=self._hear_abort)),
            asyncio.create_task(self._outbox.run()),
        ]
        riding = asyncio.create_task(self._ride_outages(renewer))
        self._rooms.append(riding)  # until the end, as an outage may begin while the worker drains
        try:
            await self._serve_through_outages(riding)
            for stubborn in await drain.drain(list(self.runs.values()), self.drain_s, self._signals.hurry):
                self._abandon(stubborn)
            await drain.commit(self._outbox)
        except RedisGone as error:
            raise RedisGone(f"{error} {self._what_is_lost()}") from None
        finally:
            await renewer.stop()
            await drain.end(self._rooms)
            await self._leave()

    def _what_is_lost(self) -> str:
        return (
            f"Lost with this worker: {words.counted(len(self._outbox), 'outcome')} that could not be written and "
            f"{words.counted(len(self.runs), 'run')} that had not ended; these jobs run again once Redis is back."
        )

    def _stop(self, signum: Signals) -> None:
        sig = Signals(signum)
        if not self._signals.hear(sig):
            return
        self._woken.set()
        logger.info(
            "shutdown on %s ◆ %d jobs complete ◆ %d failed ◆ %d retries ◆ %d to be completed",
            sig.name,
            self.jobs_complete,
            self.jobs_failed,
            self.jobs_retried,
            len(self.runs),
        )
        if self.on_stop:
            self.on_stop(sig)

    handle_sig = _stop
    handle_sig_wait_for_completion = _stop

    async def close(self) -> None:
        """Stops as a signal would, then closes the connections. Idempotent."""
        if self.main_task is not None and not self.main_task.done():
            self._stop(Signals.SIGUSR1)
            await asyncio.wait({self.main_task})
        if self._pool is None:
            return
        with suppress(RedisError, *UNREACHABLE):  # what ended the worker is told, not this
            async with asyncio.timeout(HEALTH_KEY_LIMIT_S):
                await self.pool.delete(self.health_check_key)
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await self.pool.aclose()
        self._pool = None
        self._signals.forget()  # arq's --watch runs the same worker again

    # -- the loop ----------------------------------------------------------------------------------

    async def _serve_through_outages(self, riding: asyncio.Task[None]) -> None:
        while not self._stopping.is_set():
            serving = asyncio.create_task(self._serve())
            await self._unless_stopping(serving, patience_s=REPLY_LIMIT_S)
            if not serving.done():  # Redis hangs
                await drain.end([serving])
                return
            try:
                serving.result()
            except UNREACHABLE as error:
                self._outage.begin(error)
            if not self._outage.lasting:
                return
            past = asyncio.create_task(self._outage.past())
            await self._unless_stopping(past, riding)
            past.cancel()
            if riding.done():
                riding.result()  # RedisGone

    async def _ride_outages(self, renewer: Renewer) -> None:
        """Rides out one outage after the other. The outbox may notice one first, so the loop is woken."""
        while True:
            await self._outage.begun()
            self._woken.set()
            await self._outage.ride_out(self.is_served, renewer.renew_now)

    async def _unless_stopping(self, *tasks: asyncio.Task[Any], patience_s: float = 0) -> None:
        """Waits for one of `tasks`, no longer than `patience_s` once the worker has been told to stop."""
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((*tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if patience_s and not any(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)

    async def _serve(self) -> None:
        kept_house_s = -self.poll_delay_s
        while not (self._stopping.is_set() or self._outage.lasting):
            self._woken.clear()
            next_s = await self._complaints.outlive(self._claim, self.poll_delay_s) or 0
            if monotonic() - kept_house_s >= self.poll_delay_s:
                kept_house_s = monotonic()
                await self._complaints.outlive(self._keep_house, 0)
            if self.burst and await self._complaints.outlive(self._burst_is_over, 0):
                return
            if next_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(next_s):
                        await self._woken.wait()
            else:
                await asyncio.sleep(0)  # the jobs that were claimed start first

    async def _keep_house(self) -> None:
        """Health, cron jobs, aborts. It asks Redis something, so that a full worker notices an outage too."""
        with as_unreachable():
            await self._aside.look(self.pool, self.on_data_lost, self.ctx)
            await self.heart_beat()
        if self.runs:
            await self._find_aborts()

    async def _claim(self) -> float:
        """Claims what there is room for and starts it. Returns how long to wait at most, in seconds."""
        want = self._room()
        if want <= 0 or not self.allow_pick_jobs:
            self._wants_more = True
            return self.poll_delay_s
        await self._renewer.catch_up()
        claim = await self._scripts.claim(
            self.queue_name,
            self.name,
            want=want,
            lease_ms=round(self.lease_s * 1000),
            hold_ms=round((self.in_progress_timeout_s + HOLD_EXTRA_S) * 1000),
            epoch=self._epoch,
            models=self.models,
            overdue=self._may_be_overdue(),
        )
        self._notice(claim.epoch)
        self._tell_of_unread(claim.unread)
        for claimed in claim.jobs:
            self._start(claimed)
        self._keep_mine(claim.mine)
        if any(job_id in self.runs for job_id in claim.aborts):
            await self._find_aborts()
        self._wants_more = claim.more
        if claim.more:
            return 0
        wait_s = (claim.next_ms - claim.now_ms) / 1000
        return wait_s if 0 < wait_s < self.poll_delay_s else self.poll_delay_s

    def _notice(self, epoch: str) -> None:
        """Renews at once where Redis has lost its data, so that what ran under lost slots is cancelled."""
        if self._epoch and epoch != self._epoch:
            is_reported = self.runs or monotonic() < self._loss_reported_at_s + self.lease_s  # by the renewal
            logger.log(logging.DEBUG if is_reported else logging.ERROR, "Redis has lost its data")
            self._in_background(self._start_afresh())
        self._epoch = epoch

    async def _start_afresh(self) -> None:
        with suppress(*UNREACHABLE, QueueUnavailable):
            await self._renewer.renew_now()
            if self.on_data_lost:
                await self.on_data_lost(self.ctx)

    def _room(self) -> int:
        room = min(BATCH, self.max_jobs - len(self.runs), 2 * self.max_jobs - len(self.held))
        if self.burst and self.max_burst_jobs >= 0:
            room = min(room, self.max_burst_jobs - self._jobs_started())
        return room

    async def _burst_is_over(self) -> bool:
        if self.runs or len(self._outbox):
            return False
        if 0 <= self.max_burst_jobs <= self._jobs_started():
            return True  # else: a lane stays in LANES until its next look, even when its last job has ended
        lanes = await self.pool.zrange(self.keys.lanes_of(self.queue_name), 0, -1)
        async with self.pool.pipeline(transaction=False) as pipe:
            for lane in (self.queue_name, *lanes):
                pipe.zcount(lane, 0, "+inf")  # below 0: left unread, for another worker
            return not any(isinstance(n, int) and n for n in await pipe.execute(raise_on_error=False))


# arq's get_kwargs reads the signature, and **kwargs would hide arq's own parameters from it.
_OURS = [p for p in inspect.signature(Engine.__init__).parameters.values() if p.kind is p.KEYWORD_ONLY]
Engine.__signature__ = inspect.Signature([*inspect.signature(Worker).parameters.values(), *_OURS])
