"""What Python services import: enqueue LLM calls, wait for answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Literal, Self

from arq import ArqRedis
from arq.constants import health_check_key_suffix

from . import keys
from .connection import connect, reachable
from .dead import DeadLetters
from .errors import InvalidRequest, Unserializable
from .job import Job
from .listener import Listener
from .requests import ChatInput, EmbedInput, chat_request, each, embed_request
from .schemas import ChatRequest, Completion, Embeddings, EmbedRequest
from .scripts import Scripts
from .tickets import (
    LIFE_S,
    Priority,
    Terms,
    aborted_record,
    checked_lane,
    lane_of,
    payload,
    tickets,
)
from .url import redis_settings

BATCH = 200  # jobs a round trip: large enough to forget the trip, small enough to let others in

ChatJob = Job[Completion]
EmbedJob = Job[Embeddings]


class Queue:
    """An open queue. One per process and event loop is enough, whatever the load.

    `async with Queue.from_url(url) as queue:`, or `await queue.close()` when done. Connections are
    made when first needed: two for commands, one that listens.
    """

    def __init__(self, redis: ArqRedis, signals: ArqRedis, *, name: str = keys.QUEUE) -> None:
        self.redis = redis
        self.name = name
        self._signals = signals
        self.scripts = Scripts(redis, name)
        self.dead = DeadLetters(self)
        self.listener = Listener(signals, self.scripts)

    @classmethod
    def from_url(cls, url: str, *, ssl_cert_reqs: str | None = None, name: str = keys.QUEUE) -> Self:
        """The queue on the server at `url` (its forms: client/url.py). Raises InvalidRedisURL."""
        settings = redis_settings(url, ssl_cert_reqs=ssl_cert_reqs)
        return cls(connect(settings), connect(settings, max_connections=1, retries=0), name=name)

    async def chat(
        self,
        /,
        prompt: ChatInput,
        *,
        model: str | None = None,
        system: str | None = None,
        job_id: str | None = None,
        defer_s: float = 0,
        deadline_s: float = LIFE_S,
        lane: str | None = None,
        priority: Priority = "normal",
        **options: Any,
    ) -> ChatJob:
        """Enqueues one completion; `options` are fields of ChatRequest (max_tokens, temperature …).

        With a `job_id` of the caller's it is idempotent: where that id is queued, running or has its
        result, nothing is written and the handle is the first job's. The job starts after `defer_s`
        and is not started, nor tried again, after `deadline_s`. Lanes are served in turn, so a `lane`
        of its own (a tenant's, say) neither waits for the others nor makes them wait; within a lane,
        `priority` is "low", "normal", "high" or a head start in seconds. Raises InvalidRequest,
        QueueUnavailable.
        """
        request = chat_request(prompt, model=model, system=system, **options)
        ids = None if job_id is None else [job_id]
        return (await self._send("chat", [request], self._terms(ids, defer_s, deadline_s, lane, priority)))[0]

    async def chat_many(
        self,
        requests: Iterable[ChatInput],
        *,
        job_ids: Sequence[str] | None = None,
        defer_s: float = 0,
        deadline_s: float = LIFE_S,
        lane: str | None = None,
        priority: Priority = "normal",
    ) -> list[ChatJob]:
        """Enqueues many completions, BATCH a round trip; all are checked before the first is sent.

        `job_ids` are theirs in the same order, each idempotent as in `chat`. Should Redis fail in the
        middle, the first batches are in the queue: send all again under the same ids.
        """
        checked = map(chat_request, each(requests, "chat"))
        return await self._send("chat", checked, self._terms(job_ids, defer_s, deadline_s, lane, priority))

    async def embed(
        self,
        /,
        texts: EmbedInput,
        *,
        model: str | None = None,
        job_id: str | None = None,
        defer_s: float = 0,
        deadline_s: float = LIFE_S,
        lane: str | None = None,
        priority: Priority = "normal",
        **options: Any,
    ) -> EmbedJob:
        """Enqueues the embedding of `texts` as one job; its vectors keep their order. As `chat`."""
        request = embed_request(texts, model=model, **options)
        ids = None if job_id is None else [job_id]
        return (await self._send("embed", [request], self._terms(ids, defer_s, deadline_s, lane, priority)))[
            0
        ]

    async def embed_many(
        self,
        requests: Iterable[EmbedInput],
        *,
        job_ids: Sequence[str] | None = None,
        defer_s: float = 0,
        deadline_s: float = LIFE_S,
        lane: str | None = None,
        priority: Priority = "normal",
    ) -> list[EmbedJob]:
        """Enqueues many embedding jobs. As `chat_many`."""
        checked = map(embed_request, each(requests, "embed"))
        return await self._send("embed", checked, self._terms(job_ids, defer_s, deadline_s, lane, priority))

    async def enqueue(
        self,
        function: str,
        /,
        *args: Any,
        _job_id: str | None = None,
        _defer_s: float = 0,
        _deadline_s: float = LIFE_S,
        _lane: str | None = None,
        _priority: Priority = "normal",
        **kwargs: Any,
    ) -> Job[Any]:
        """Enqueues any registered job; arguments are JSON data or pydantic models.

        The underscored options are those of `chat`. Raises Unserializable, QueueUnavailable.
        """
        ids = None if _job_id is None else [_job_id]
        terms = self._terms(ids, _defer_s, _deadline_s, _lane, _priority)
        return (await self._put([payload(function, args, kwargs, terms.lane)], terms))[0]

    def job(self, job_id: str) -> Job[Any]:
        """The handle of a job whose id is known, from this process or another. Asks nothing."""
        return Job(job_id, self)

    async def forget(self, job_ids: Iterable[str]) -> None:
        """Deletes the results of finished jobs, so that their ids can be used again."""
        ids = iter([job_ids] if isinstance(job_ids, str) else job_ids)
        with reachable():
            while batch := list(islice(ids, BATCH)):
                await self.redis.delete(*map(keys.result, batch))

    async def workers_alive(self) -> bool:
        """Whether a worker has reported its health of late."""
        with reachable():
            return bool(await self.redis.exists(self.name + health_check_key_suffix))

    async def ping(self) -> None:
        """Raises QueueUnavailable, with the reason, where the server cannot be used."""
        with reachable():
            await self.redis.ping()

    async def close(self) -> None:
        """Closes the connections. Whoever still waits for a result gets QueueUnavailable."""
        await self.listener.close()
        await self._signals.aclose()
        await self.redis.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def request_abort(self, job_id: str) -> Literal["ended", "asked", "absent"]:
        """What `Job.abort` sends; it waits for no worker."""
        with reachable():
            data = await self.redis.get(keys.job(job_id))
            lane = lane_of(data, self.name)
            return await self.scripts.abort(job_id, lane, aborted_record(job_id, lane, data))

    def _terms(
        self,
        job_ids: Sequence[str] | None,
        defer_s: float,
        deadline_s: float,
        lane: str | None,
        priority: Priority,
    ) -> Terms:
        where = self.name if lane is None else keys.lane(checked_lane(lane))
        return Terms(where, job_ids, defer_s, deadline_s, priority)

    async def _send(
        self, function: str, requests: Iterable[ChatRequest | EmbedRequest], terms: Terms
    ) -> list[Job[Any]]:
        try:
            payloads = [
                payload(function, [request.model_dump(exclude_defaults=True)], {}, terms.lane)
                for request in requests
            ]
        except Unserializable as error:  # in metadata or extra, or half a character in a prompt
            raise InvalidRequest(str(error)) from None
        return await self._put(payloads, terms)

    async def _put(self, payloads: list[bytes], terms: Terms) -> list[Job[Any]]:
        all_ = tickets(payloads, terms)
        with reachable():
            for start in range(0, len(all_), BATCH):
                await self.scripts.enqueue(terms.lane, all_[start : start + BATCH])
        return [Job(ticket.job_id, self) for ticket in all_]
