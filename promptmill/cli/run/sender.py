"""Tickets → jobs in the queue, each idempotent under its id, with patience for a server that is away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from client.errors import InvalidRequest, JobFailed, QueueUnavailable
from client.wire.schemas import ChatRequest, EmbedRequest

from .feed import Sending
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
        self.unsent: list[Sending] = []  # refused by a server that was away, to be sent again
        self._queue = queue
        self._window = window
        self._limits = limits
        self._patience_s = patience_s
        self._now_s = clock
        self._away_since_s: float | None = None

    async def send(self, tickets: list[Sending]) -> bool:
        """False where the server is away: then they are in `unsent`.

        Raises QueueUnavailable once that has lasted for `patience_s` seconds.
        """
        now_s = self._now_s()
        try:
            await self._send(tickets)
        except QueueUnavailable:
            self.unsent[:0] = tickets
            self._away_since_s = now_s if self._away_since_s is None else self._away_since_s
            if now_s - self._away_since_s >= self._patience_s:
                raise
            return False
        self._away_since_s = None
        return True

    async def _send(self, tickets: list[Sending]) -> None:
        try:
            jobs = await self._enqueue(tickets)
        except InvalidRequest as error:  # what the check of the input let pass, the queue may refuse
            if len(tickets) == 1:
                refusal = JobFailed(str(error), error_type="InvalidRequest")
                self._window.add(LineOutcome(tickets[0], refusal))
                return
            while tickets:  # those that are sent leave the list, in case the server goes away
                await self._send(tickets[:1])
                del tickets[0]
            return
        for ticket, job in jobs:
            self._window.watch(ticket, job)

    async def _enqueue(self, tickets: list[Sending]) -> list[tuple[Sending, Waitable]]:
        chats: list[tuple[Sending, ChatRequest]] = []
        embeds: list[tuple[Sending, EmbedRequest]] = []
        for ticket in tickets:
            request = ticket.item.request()
            if isinstance(request, ChatRequest):
                chats.append((ticket, request))
            else:
                embeds.append((ticket, request))
        queue, limits, jobs = self._queue, self._limits, list[Waitable]()
        if chats:
            ids = [ticket.job_id for ticket, _ in chats]
            jobs += await queue.chat_many([request for _, request in chats], job_ids=ids, limits=limits)
        if embeds:
            ids = [ticket.job_id for ticket, _ in embeds]
            jobs += await queue.embed_many([request for _, request in embeds], job_ids=ids, limits=limits)
        return list(zip([ticket for ticket, _ in (*chats, *embeds)], jobs, strict=True))
