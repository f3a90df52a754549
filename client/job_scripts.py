"""The Lua scripts of the client, each behind one typed function."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Literal

from redis.asyncio import Redis

from .errors import JobError, JobExpired, JobNotFound
from .tickets import JobTicket
from .wire.events import FIELD, Position, position
from .wire.keys import KEYS

RESULT_OF_ABORTED_TTL_S = 86_400  # as long as a result lives by default


def _source(verb: str) -> str:
    return files(__package__).joinpath("lua", f"{verb}.lua").read_text()


_ENQUEUE, _LOOK, _ABORT, _REVIVE = map(_source, ("enqueue", "look", "abort", "revive"))


# What look tells of a job that has no result.
Unfinished = Literal["waits or runs", "expired", "unknown"]
_UNFINISHED: dict[int, Unfinished] = {1: "waits or runs", 2: "expired", 0: "unknown"}


class Scripts:
    """The scripts, bound to one server. A script the server has forgotten is sent again."""

    def __init__(self, redis: Redis, queue: str) -> None:
        self._queue = queue
        self._redis = redis
        self._enqueue = redis.register_script(_ENQUEUE)
        self._look = redis.register_script(_LOOK)
        self._abort = redis.register_script(_ABORT)
        self._revive = redis.register_script(_REVIVE)

    async def enqueue(self, tickets: Sequence[JobTicket]) -> list[bool]:
        """One round trip: all tickets into their lanes, and workers woken. True where the id was new."""
        names: list[str] = [KEYS.lanes_of(tickets[0].lane)]
        args: list[str | bytes | int] = [KEYS.wake_channel, KEYS.stream("")]
        for ticket in tickets:
            id_ = ticket.job_id
            names += (KEYS.job(id_), KEYS.result(id_), KEYS.in_progress(id_))
            args += (id_, ticket.payload, ticket.defer_ms, ticket.life_ms, ticket.lane)
        return [added == 1 for added in await self._enqueue(names, args)]

    async def look(self, job_ids: Sequence[str]) -> list[bytes | Unfinished]:
        """For each id at one moment: its result record, else what is known of it."""
        names = [self._queue, KEYS.lanes, KEYS.cpu_lanes]
        for id_ in job_ids:
            names += (KEYS.result(id_), KEYS.job(id_), KEYS.in_progress(id_))
        reply: list[bytes | int] = await self._look(names, job_ids)
        return [seen if isinstance(seen, bytes) else _UNFINISHED[seen] for seen in reply]

    async def abort(self, job_id: str, lane: str, aborted: bytes) -> Literal["ended", "asked", "absent"]:
        """Ends a job that has not started, or asks its worker to. `aborted` is the result record."""
        names = [
            KEYS.job(job_id),
            KEYS.in_progress(job_id),
            lane,
            KEYS.aborts,
            KEYS.result(job_id),
        ]
        life_ms = RESULT_OF_ABORTED_TTL_S * 1000
        channels = KEYS.done_channel(job_id), KEYS.wake_channel
        reply = await self._abort(names, [job_id, aborted, life_ms, *channels])
        answer: Literal["ended", "asked", "absent"] = reply.decode()
        return answer

    async def revive(self, waits: Sequence[tuple[str, int]], life_ms: int) -> list[bool]:
        """Dead letters back into their lanes: (id, ms to wait) each. True where one is queued again."""
        prefixes = KEYS.dead(""), KEYS.job(""), KEYS.result(""), KEYS.in_progress("")
        args: list[str | int] = [KEYS.wake_channel, *prefixes, life_ms, KEYS.lane("cpu|"), KEYS.stream("")]
        for wait in waits:
            args += wait
        return [
            revived == 1
            for revived in await self._revive([KEYS.dead_letters, KEYS.lanes, KEYS.cpu_lanes], args)
        ]

    async def read_streams(
        self, places: Sequence[tuple[str, str]], count: int
    ) -> list[list[tuple[Position, bytes]]]:
        """For each (job id, first event's id) up to `count` events, as they are stored. One round trip."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id, first in places:
                pipe.xrange(KEYS.stream(job_id), first, "+", count)
            replies = await pipe.execute()
        field = FIELD.encode()
        return [[(position(id_), entry[field]) for id_, entry in reply] for reply in replies]


def not_found(job_id: str) -> JobNotFound:
    return JobNotFound(f"There is no job {job_id!r}: the id is wrong or its result has expired.")


def absence(job_id: str, seen: Unfinished) -> JobError:
    """Why there is no use in waiting for the job."""
    if seen == "expired":
        return JobExpired("The job was not started before its deadline.")
    return not_found(job_id)
