"""Lines → jobs in the queue, each idempotent under its id, with patience for a server that is away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from client.errors import InvalidRequest, JobFailed, QueueUnavailable
from client.wire.schemas import ChatRequest, EmbedRequest

from .feed import LineJob
from .window import Waitable, Window
from .writer import LineOutcome


class RunQueue(Protocol):
    """The part of client.Queue that a run uses."""

    async def chat_many(
        self,
        requests: Iterable[ChatRequest],
        *,
        job_ids: Sequence[str] | None = None,
        limits: Sequence[str] = (),
    ) -> Sequence[Waitable]: ...

    async def embed_many(
        self,
        requests: Iterable[EmbedRequest],
        *,
        job_ids: Sequence[str] | None = None,
        limits: Sequence[str] = (),
    ) -> Sequence[Waitable]: ...

    async def forget(self, job_ids: Iterable[str]) -> None: ...

    async def workers_alive(self) -> bool: ...


class Sender:
    """Puts jobs into the queue and hands them to the window."""

    def __init__(
        self,
        queue: RunQueue,
        window: Window,
        *,
        limits: Sequence[str],
        patience_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.unsent: list[LineJob] = []  # refused by a server that was away, to be sent again
        self._queue = queue
        self._window = window
        self._limits = limits
        self._patience_s = patience_s
        self._now_s = clock
        self._away_since_s: float | None = None

    async def send(self, line_jobs: list[LineJob]) -> bool:
        """False where the server is away: then they are in `unsent`.

        Raises QueueUnavailable once that has lasted for `patience_s` seconds.
        """
        now_s = self._now_s()
        try:
            await self._send(line_jobs)
        except QueueUnavailable:
            self.unsent[:0] = line_jobs
            self._away_since_s = now_s if self._away_since_s is None else self._away_since_s
            if now_s - self._away_since_s >= self._patience_s:
                raise
            return False
        self._away_since_s = None
        return True

    async def _send(self, line_jobs: list[LineJob]) -> None:
        try:
            jobs = await self._enqueue(line_jobs)
        except InvalidRequest as error:  # what the check of the input let pass, the queue may refuse
            if len(line_jobs) == 1:
                refusal = JobFailed(str(error), error_type="InvalidRequest")
                self._window.add(LineOutcome(line_jobs[0], refusal))
                return
            while line_jobs:  # those that are sent leave the list, in case the server goes away
                await self._send(line_jobs[:1])
                del line_jobs[0]
            return
        for line_job, job in jobs:
            self._window.watch(line_job, job)

    async def _enqueue(self, line_jobs: list[LineJob]) -> list[tuple[LineJob, Waitable]]:
        chats: list[tuple[LineJob, ChatRequest]] = []
        embeds: list[tuple[LineJob, EmbedRequest]] = []
        for line_job in line_jobs:
            request = line_job.item.request()
            if isinstance(request, ChatRequest):
                chats.append((line_job, request))
            else:
                embeds.append((line_job, request))
        queue, limits, jobs = self._queue, self._limits, list[Waitable]()
        if chats:
            ids = [line_job.job_id for line_job, _ in chats]
            jobs += await queue.chat_many([request for _, request in chats], job_ids=ids, limits=limits)
        if embeds:
            ids = [line_job.job_id for line_job, _ in embeds]
            jobs += await queue.embed_many([request for _, request in embeds], job_ids=ids, limits=limits)
        return list(zip([line_job for line_job, _ in (*chats, *embeds)], jobs, strict=True))
