"""The Lua scripts of the client, each behind one typed function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from arq import ArqRedis

from . import keys

RESULT_OF_ABORTED_TTL_S = 86_400  # as long as a result lives by default


def _source(verb: str) -> str:
    return files(__package__).joinpath("lua", f"{verb}.lua").read_text()


_ENQUEUE, _LOOK, _ABORT = map(_source, ("enqueue", "look", "abort"))


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job on its way into the queue."""

    job_id: str
    payload: bytes
    defer_ms: int
    life_ms: int


class Scripts:
    """The scripts, bound to one server. A script the server has forgotten is sent again."""

    def __init__(self, redis: ArqRedis) -> None:
        self._enqueue = redis.register_script(_ENQUEUE)
        self._look = redis.register_script(_LOOK)
        self._abort = redis.register_script(_ABORT)

    async def enqueue(self, queue: str, tickets: Sequence[Ticket]) -> list[bool]:
        """One round trip: all tickets into the queue. True where the id was new."""
        names: list[str] = [queue]
        args: list[str | bytes | int] = []
        for ticket in tickets:
            names += (keys.job(ticket.job_id), keys.result(ticket.job_id))
            args += (ticket.job_id, ticket.payload, ticket.defer_ms, ticket.life_ms)
        return [added == 1 for added in await self._enqueue(names, args)]

    async def look(self, job_ids: Sequence[str]) -> list[bytes | bool]:
        """For each id at one moment: its result, else whether the job is waiting or running."""
        names = [name for id_ in job_ids for name in (keys.result(id_), keys.job(id_))]
        return [seen if isinstance(seen, bytes) else seen == 1 for seen in await self._look(names)]

    async def abort(self, queue: str, job_id: str, aborted: bytes) -> Literal["ended", "asked", "absent"]:
        """Ends a job that has not started, or asks its worker to. `aborted` is the result record."""
        names = [
            keys.job(job_id),
            keys.in_progress(job_id),
            queue,
            keys.ABORTS,
            keys.result(job_id),
        ]
        life_ms = RESULT_OF_ABORTED_TTL_S * 1000
        reply = await self._abort(names, [job_id, aborted, life_ms, keys.done_channel(job_id)])
        answer: Literal["ended", "asked", "absent"] = reply.decode()
        return answer
