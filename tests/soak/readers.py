"""Those who wait for results and follow streams. They come and go; a queue of theirs may be closed any time."""

from __future__ import annotations

import asyncio
from random import Random
from time import monotonic

from client import Job, JobError, Queue
from client.errors import JobNotFound, QueueUnavailable, ResultTimeout
from tests.soak.record import Planned, Reading, Record

LIMIT_S = 240.0  # for one reader
LEAVES_AFTER = (1, 6)  # events
QUEUE_LIVES_S = 8.0  # then its connections are new


class Readers:
    """`follow` is to be told of every job; `ended` returns when all have read to the end."""

    def __init__(self, record: Record, redis_url: str) -> None:
        self._record, self._url = record, redis_url
        self._dice = record.options.dice("readers")
        self._tasks: set[asyncio.Task[None]] = set()
        self._queues: list[Queue] = []
        self._queue_ends_s = 0.0

    def follow(self, job: Planned) -> None:
        """A stream gets one or two readers; of the other jobs half have somebody who waits."""
        if job.stream:
            for _ in range(self._dice.randint(1, 2)):
                self._begin(job)
        elif self._dice.random() < 0.5:
            self._tasks.add(asyncio.create_task(self._wait(job), name=f"whoever waits for {job.id}"))

    async def ended(self, within_s: float) -> None:
        if self._tasks:
            done, late = await asyncio.wait(self._tasks, timeout=within_s)
            self._record.trouble += [f"{task.get_name()} has not ended" for task in late]
            self._record.trouble += [f"{t.get_name()}: {t.exception()!r}" for t in done if t.exception()]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for queue in self._queues:
            await queue.close()

    def _begin(self, job: Planned) -> None:
        reading = Reading(job.id)
        self._record.readings.append(reading)
        dice = Random(self._dice.random())
        self._tasks.add(asyncio.create_task(self._read(reading, dice), name=f"a reader of {job.id}"))

    def _handle(self, job_id: str) -> Job[object]:
        """A handle on a queue that has not lived for long. Old queues stay open for those who read there."""
        if monotonic() > self._queue_ends_s:
            self._queues.append(Queue.from_url(self._url))
            self._queue_ends_s = monotonic() + QUEUE_LIVES_S
        return self._queues[-1].job(job_id)

    async def _wait(self, job: Planned) -> None:
        """Waits for a while, goes, and comes back, until there is a result."""
        deadline_s = monotonic() + LIMIT_S
        while monotonic() < deadline_s:
            try:
                await self._handle(job.id).result(self._dice.uniform(0.5, 20))
            except (QueueUnavailable, ResultTimeout):
                await asyncio.sleep(0.2)
            except JobNotFound:
                self._record.trouble.append(f"whoever waited for {job.id} was told that there is no such job")
                return
            except JobError:
                return
            else:
                return

    async def _read(self, reading: Reading, dice: Random) -> None:
        """Reads some events, goes, and comes back behind the last of them, until the end."""
        await asyncio.sleep(dice.choice((0.0, dice.uniform(0, 3))))
        deadline_s, after = monotonic() + LIMIT_S, None
        while not reading.last and monotonic() < deadline_s:
            reading.comings += 1
            patience = dice.randint(*LEAVES_AFTER) if dice.random() < 0.5 else 1_000_000
            stream = self._handle(reading.job_id).stream(after)
            try:
                async for event in stream:
                    after = event.id
                    _take(reading, event.kind, event.text)
                    patience -= 1
                    if patience <= 0:
                        break
            except QueueUnavailable:
                await asyncio.sleep(0.2)
            except JobNotFound:
                self._record.trouble.append(
                    f"a reader of {reading.job_id} was told that there is no such job"
                )
                return
            finally:
                await stream.aclose()


def _take(reading: Reading, kind: str, text: str) -> None:
    if kind == "delta":
        reading.text += text
    elif kind == "reset":
        reading.text, reading.truncated = "", False
    elif kind == "truncated":
        reading.truncated = True
    elif kind == "done":
        reading.last = "done"
    else:
        reading.last = "error"
