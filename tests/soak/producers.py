"""Those who enqueue: a backlog that never ends, conversations, and a mixture of all else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from random import Random
from time import monotonic
from typing import Any

from client import Queue
from client.errors import QueueUnavailable
from tests.soak.plan import ALPHA, BACKLOG, BACKLOG_JOBS, BETA, TENANTS, VECTORS
from tests.soak.record import Planned, Record

TEXTS_PER_CALL = 2
LATEST_DEFER_S = 5
ABORT_S = (
    60  # a killed worker's job is ended by the next that claims it, in its turn; Redis may be away as well
)
TRIES = 60  # to enqueue while Redis is away, one in half a second


class Producers:
    """`on_enqueued` hears of every job that is in the queue. Each has an id of its own: it can be sent twice."""

    def __init__(self, record: Record, queue: Queue, on_enqueued: Callable[[Planned], None]) -> None:
        self._record, self._queue, self._on_enqueued = record, queue, on_enqueued
        self._numbers = count(1)
        self._aborting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        dice = self._record.options.dice
        async with asyncio.TaskGroup() as group:
            group.create_task(self._backlog(dice("backlog")))
            group.create_task(self._mixture(dice("mixture")))
            for number in range(2):
                group.create_task(self._conversations(dice(f"conversation {number}"), number))

    async def ended(self) -> None:
        """Returns when every abort has been sent."""
        ends = await asyncio.gather(*self._aborting, return_exceptions=True)
        self._record.trouble += [f"an abort: {end!r}" for end in ends if end is not None]

    # -- kinds ---------------------------------------------------------------------------------------

    async def _backlog(self, dice: Random) -> None:
        """Low jobs that always wait, and now and then one that is to overtake them."""
        waiting: list[Planned] = []
        while True:
            started = {call.job_id for call in self._record.calls}
            waiting = [job for job in waiting if job.id not in started]
            more = [self._plan("chat", BACKLOG, priority="low") for _ in range(BACKLOG_JOBS - len(waiting))]
            await self._enqueue_many(more)
            waiting += more
            for _ in range(dice.randint(1, 2)):
                await self._enqueue(self._plan("chat", BACKLOG, priority="high"))
            await asyncio.sleep(dice.uniform(0.7, 1.5))

    async def _conversations(self, dice: Random, of: int) -> None:
        """Turns that are enqueued one after the other, none waiting for the answer of another."""
        for number in count(1):
            name = f"{of}-{number}"
            models = [dice.choice((ALPHA, BETA)) if number % 2 else ALPHA for _ in range(dice.randint(4, 7))]
            turns = [self._plan("chat", m, conversation=name, turn=turn) for turn, m in enumerate(models)]
            if number % 3 == 0:
                await self._enqueue_many(turns)
            else:
                for turn in turns:
                    await self._enqueue(turn)
            await asyncio.sleep(dice.uniform(2.5, 4))

    async def _mixture(self, dice: Random) -> None:
        while True:
            job = self._any(dice)
            await self._enqueue(job)
            if dice.random() < 0.06:
                task = asyncio.create_task(self._abort(job, dice.uniform(0, 1.5)))
                self._aborting.add(task)
            await asyncio.sleep(dice.expovariate(8))

    def _any(self, dice: Random) -> Planned:
        roll, tenant = dice.random(), dice.choice((None, None, *TENANTS))
        if roll < 0.12:
            return self._plan("own", "")
        if roll < 0.22:
            job = self._plan("embed", VECTORS, tenant=tenant)
            many = dice.choice((*range(3, 13), 18, 20))
            job.texts = tuple(f"{job.id}#{number}" for number in range(many))
            return job
        job = self._plan("chat", dice.choice((ALPHA, ALPHA, BETA)), tenant=tenant)
        job.stream = dice.random() < 0.45
        job.priority = dice.choice(("low", "normal", "high"))
        if dice.random() < 0.1:
            job.defer_s = dice.uniform(0.5, LATEST_DEFER_S)
        return job

    def _plan(self, kind: Any, model: str, **fields: Any) -> Planned:
        job = Planned(f"{kind}-{next(self._numbers)}", kind, model, **fields)
        self._record.jobs[job.id] = job
        return job

    # -- sending -------------------------------------------------------------------------------------

    async def _enqueue(self, job: Planned) -> None:
        await self._sent(lambda: self._send(job), [job])

    async def _send(self, job: Planned) -> None:
        if job.kind == "own":
            await self._queue.enqueue("asks_twice", job.id, _job_id=job.id)
            return
        where = {"tenant": job.tenant, "conversation": job.conversation, "priority": job.priority}
        terms: dict[str, Any] = {"job_id": job.id, "model": job.model, "defer_s": job.defer_s, **where}
        if job.kind == "chat":
            await self._queue.chat(_words(job), stream=job.stream, **terms)
        else:
            await self._queue.embed(job.texts, texts_per_call=TEXTS_PER_CALL, **terms)

    async def _enqueue_many(self, jobs: list[Planned]) -> None:
        """Chats that differ in their models only."""
        if not jobs:
            return
        requests = [{"prompt": _words(job), "model": job.model} for job in jobs]
        first, ids = jobs[0], [job.id for job in jobs]
        terms: dict[str, Any] = {"conversation": first.conversation, "priority": first.priority}
        await self._sent(lambda: self._queue.chat_many(requests, job_ids=ids, **terms), jobs)

    async def _sent(self, send: Callable[[], Awaitable[object]], jobs: list[Planned]) -> None:
        for _ in range(TRIES):
            try:
                await send()
                break
            except QueueUnavailable:  # it may be in the queue, or not: the id makes it once
                await asyncio.sleep(0.5)
        else:
            self._record.trouble.append(f"{jobs[0].id} could not be enqueued for half a minute")
            return
        for job in jobs:
            job.enqueued_s = monotonic()
            self._on_enqueued(job)

    async def _abort(self, job: Planned, after_s: float) -> None:
        await asyncio.sleep(after_s)
        job.abort_asked = True
        with suppress(QueueUnavailable):
            await self._queue.job(job.id).abort(ABORT_S)


def _words(job: Planned) -> str:
    return f"{job.id} is a prompt of the soak"
