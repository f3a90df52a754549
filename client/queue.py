"""What Python services import: enqueue LLM calls, wait for answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from itertools import islice
from typing import Any, Self, Unpack, get_args

from .costs import By, Cost, costs
from .dead import DeadLetters
from .errors import InvalidRequest
from .job import Job, lane_at
from .limits.admin import limits_of
from .limits.rules.lanes import Kind, joined
from .redis.connection import reachable
from .requests import ChatInput, EmbedInput, chat_request, each, embed_request, in_portions, unicode_id
from .session import Session
from .steps import Steps
from .terms import LIFE_S, ChatOptions, EmbedOptions, EnqueueTerms, Priority, Terms, only, spelled_out
from .tickets import Work, in_batches, job_work, llm_work, tickets
from .wire.schemas import ChatRequest, Completion, Embeddings, EmbedRequest

NO_CALLS = "There are no chats and no embeddings"
BATCH = 200  # jobs a round trip: large enough to forget the trip, small enough to let others in
BATCH_BYTES = 64_000_000  # of their payloads: Redis hangs up on a command of 1 GB

ChatJob = Job[Completion]
EmbedJob = Job[Embeddings]


class Queue:
    """An open queue. One per process is enough, whatever the load.

    `async with Queue.from_url(url) as queue:`, or `await queue.close()` when done. Connections are
    made when first needed: two for commands, one that listens, one while a call waits for a slot. Each event
    loop that uses it has its own; those of a loop that was closed end when the next loop comes.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.dead = DeadLetters(session)
        self.limits = limits_of(lambda: session.limits)

    @classmethod
    def from_url(cls, url: str, *, ssl_cert_reqs: str | None = None, name: str | None = None) -> Self:
        """The queue on the server at `url` (its forms: client/redis/url.py). Raises InvalidRedisURL.

        With a `name`, a queue of arq's for jobs of one's own, whose workers have it as their `queue_name`, and
        nothing else on that server: what the name does not keep apart is refused with InvalidRequest.
        """
        return cls(Session.from_url(url, ssl_cert_reqs=ssl_cert_reqs, name=name))

    @spelled_out
    async def chat(
        self,
        /,
        prompt: ChatInput,
        *,
        model: str | None = None,
        system: str | None = None,
        job_id: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatJob:
        """Enqueues one completion; `options` are fields of ChatRequest (max_tokens, temperature …).

        With a `job_id` of the caller's it is idempotent: where that id is queued, running or has its
        result, nothing is written and the handle is the first job's. The job starts after `defer_s`
        and is not started, nor tried again, after `deadline_s`.

        It is admitted under the limits of its model and provider, of its `tenant` and `conversation`, of
        `limits` (names of the caller's own) and of `lane`. Jobs with all of these alike make one lane.
        Lanes are served in turn, so a lane neither waits for the others nor makes them wait; within a
        lane, `priority` is "low", "normal", "high" or a head start in seconds. The jobs of a conversation
        follow one another. Raises InvalidRequest, QueueUnavailable.
        """
        terms, fields = Terms.split(job_id, options)
        check = partial(chat_request, model=model, system=system, **fields)
        return (await self._send("chat", check, [prompt], terms))[0]

    @spelled_out
    async def chat_many(
        self,
        requests: Iterable[ChatInput],
        *,
        job_ids: Sequence[str] | None = None,
        **terms: Unpack[EnqueueTerms],
    ) -> list[ChatJob]:
        """Enqueues many completions, BATCH a round trip; all are checked before the first is sent, in steps
        of a few milliseconds, between which the event loop serves others.

        Each goes to the lane of its own model. `job_ids` are theirs in the same order, each idempotent as
        in `chat`. Should Redis fail in the middle, the first batches are in the queue: send all again
        under the same ids.
        """
        return await self._send("chat", chat_request, each(requests, "chat"), Terms(job_ids, **terms))

    @spelled_out
    async def embed(
        self,
        /,
        texts: EmbedInput,
        *,
        model: str | None = None,
        job_id: str | None = None,
        **options: Unpack[EmbedOptions],
    ) -> EmbedJob:
        """Enqueues the embedding of `texts` as one job; its vectors keep their order. As `chat`."""
        terms, fields = Terms.split(job_id, options)
        check = partial(embed_request, model=model, **fields)
        return (await self._send("embed", check, [texts], terms))[0]

    @spelled_out
    async def embed_many(
        self,
        requests: Iterable[EmbedInput],
        *,
        job_ids: Sequence[str] | None = None,
        **terms: Unpack[EnqueueTerms],
    ) -> list[EmbedJob]:
        """Enqueues many embedding jobs. As `chat_many`."""
        return await self._send("embed", embed_request, each(requests, "embed"), Terms(job_ids, **terms))

    async def enqueue(
        self,
        function: str,
        /,
        *args: Any,
        _job_id: str | None = None,
        _defer_s: float = 0,
        _deadline_s: float = LIFE_S,
        _tenant: str | None = None,
        _conversation: str | None = None,
        _limits: Sequence[str] = (),
        _lane: str | None = None,
        _priority: Priority = "normal",
        **kwargs: Any,
    ) -> Job[Any]:
        """Enqueues any registered job; arguments are JSON data or pydantic models.

        The underscored options are those of `chat`; a job with none of the limits goes to the default
        queue. Raises InvalidRequest, Unserializable, QueueUnavailable.
        """
        ids, where = only(_job_id), (_tenant, _conversation, _limits, _lane)
        terms = Terms(ids, _defer_s, _deadline_s, *where, _priority)
        if terms.place:
            self.session.refuse_if_named("There are no lanes and no limits")
        if function in get_args(Kind):
            self.session.refuse_if_named(NO_CALLS)
        lane = self.session.name if self.session.is_named else self.session.keys.lane(joined(*terms.place))
        return (await self._put([job_work(function, args, kwargs, lane)], terms))[0]

    def job(self, job_id: str) -> Job[Any]:
        """The handle of a job whose id is known, from this process or another. Asks nothing."""
        return Job(unicode_id(job_id), self.session)

    async def forget(self, job_ids: Iterable[str]) -> None:
        """Deletes the results and streams of finished jobs, so that their ids can be used again."""
        self.session.refuse_if_named("Results are not forgotten by their ids")
        ids, keys = map(unicode_id, [job_ids] if isinstance(job_ids, str) else job_ids), self.session.keys
        with reachable():
            while batch := list(islice(ids, BATCH)):
                await self.session.redis.delete(*map(keys.result, batch), *map(keys.stream, batch))

    async def costs(
        self, since: date | None = None, until: date | None = None, *, by: Sequence[By] = ("model",)
    ) -> list[Cost]:
        """What the calls of the days from `since` until `until`, in UTC, have cost: a total for each of `by`.

        Both are today by default; totals are kept for 400 days. Every physical attempt counts, failed and
        cancelled ones, too. A worker writes its totals ten times a second. Raises InvalidRequest,
        QueueUnavailable.
        """
        self.session.refuse_if_named("There are no costs")
        return await costs(self.session.redis, self.session.keys, since, until, by)

    async def workers_alive(self) -> bool:
        """Whether a worker has reported its health of late."""
        with reachable():
            return bool(await self.session.redis.exists(self.session.keys.health(self.session.name)))

    async def ping(self) -> None:
        """Raises QueueUnavailable, with the reason, where the server cannot be used."""
        with reachable():
            await self.session.redis.ping()

    async def close(self) -> None:
        """Closes the connections. Whoever still waits for a result or a slot gets QueueUnavailable."""
        await self.session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(
        self,
        kind: Kind,
        check: Callable[[Any], ChatRequest | EmbedRequest],
        values: Iterable[Any],
        terms: Terms,
    ) -> list[Job[Any]]:
        self.session.refuse_if_named(NO_CALLS)
        works: list[Work] = []
        place, steps, keys = terms.place, Steps(), self.session.keys
        for value in values:
            request = check(await in_portions(value, steps) if kind == "chat" else value)
            works.append(await llm_work(kind, request, keys, place, steps))
            await steps.give_way()
        return await self._put(works, terms)

    async def _put(self, works: list[Work], terms: Terms) -> list[Job[Any]]:
        jobs: list[Job[Any]] = []
        all_ = tickets(works, terms)
        with reachable():
            for batch in in_batches(all_, BATCH, BATCH_BYTES):
                new = await self.session.scripts.enqueue(batch)
                if self.session.is_named and not all(new):
                    await self._refuse_theirs([ticket.job_id for ticket in batch])
                jobs += [Job(ticket.job_id, self.session) for ticket in batch]
        return jobs

    async def _refuse_theirs(self, job_ids: list[str]) -> None:
        """Raises InvalidRequest where an id is of a job in another queue: a database has one set of ids."""
        for job_id in job_ids:
            if not self.session.is_ours(await lane_at(self.session, job_id)):
                raise InvalidRequest(f"The id {job_id!r} is that of a job in another queue: choose another.")
