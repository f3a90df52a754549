"""The engine's Lua scripts, each behind one typed function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeAlias

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from client.redis.scripts import scripts
from client.wire.keys import Keys
from client.wire.token import place_of, with_place
from worker.unreachable import as_unreachable

Verb = Literal["done", "dead", "retry", "throttled", "again", "back", "reroute", "unread"]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a job: its id, its lane, the fencing token that proves it, and the limit keys under
    which it holds slots, with a newline between them."""

    job_id: str
    lane: str
    token: str
    limit_keys: str = ""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job this worker has leased."""

    lease: Lease
    payload: bytes | None  # None: its deadline has passed
    has_run: bool  # a run of it has begun before, and ended in a retry or with its worker
    tries_used: int
    crashes: int  # workers that died while they ran it, now that one more has
    abort_ms: int  # when somebody asked to abort it; 0 for nobody
    tokens: int = 0  # reserved
    usd: float = 0.0  # reserved
    shut: str = ""  # it holds no slots, as its model takes no calls: why, where it can go on to another

    @property
    def score_ms(self) -> int:
        """When it was due."""
        return int(float(place_of(self.lease.token)))

    @property
    def was_unread(self) -> bool:
        """It was left unread until its deadline had passed: then its place is below 0."""
        return place_of(self.lease.token).startswith("-")


# A job in the claim's reply, as claim.lua says
_Row: TypeAlias = tuple[
    bytes, bytes, bytes, bytes | None, bytes | None, int, bytes | int | None, bytes, int, bytes, bytes
]


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim brought."""

    now_ms: int
    next_ms: int  # the next moment worth a claim; -1 for none known
    more: bool  # more may be due already
    aborts: list[str]
    epoch: str  # another one than before: Redis has lost its data
    jobs: list[Claimed]
    unread: int = 0  # jobs found that cannot be read: they are left for a worker that can


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended, or what is to become of it."""

    lease: Lease
    verb: Verb
    text: bytes = b""  # the result record, or how a run ended after which it runs again; empty keeps none
    ttl_ms: int = 0
    delay_ms: int = 0  # retry, again: until it is back in its place
    keep_ms: int = 0
    use: str = ""  # what its calls really used (settlement.py); empty: nothing to settle
    to: str = ""  # reroute: the lane it goes to; done, dead: the event that ends its stream, if it has one
    attempts: bytes = b""  # what its calls came to, a line of JSON each, for the runs after it


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run has done of its job, for a later run: fields of its hash."""

    lease: Lease
    fields: Mapping[str, bytes]


class EngineScripts:
    """The scripts, bound to one connection pool."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        verbs = scripts(redis, __package__, keys, "claim", "renew", "finish", "keep")
        self._claim, self._renew, self._finish, self._keep = verbs

    async def claim(
        self,
        queue: str,
        worker: str,
        *,
        want: int,
        lease_ms: int,
        hold_ms: int,
        epoch: str = "",
        models: tuple[str, str] = ("", ""),
        overdue: bool = False,
    ) -> Claim:
        """Leases up to `want` jobs of `queue` and of all lanes, that are due and have room under all their
        limits. `epoch` is the one of the claim before, `models` the defaults for chats and embeddings.
        With `overdue`, also jobs that were left unread until their deadline. One round trip."""
        now_ms, next_ms, more, token, aborts, now_epoch, taken, unread = await _run(
            self._claim, [queue, want, lease_ms, hold_ms, worker, epoch, *models, int(overdue)]
        )
        token = token.decode()
        return Claim(
            now_ms,
            next_ms,
            more == 1,
            [id_.decode() for id_ in aborts],
            now_epoch.decode(),
            [_claimed(row, token) for row in taken],
            unread,
        )

    async def renew(self, leases: Sequence[Lease], lease_ms: int) -> list[int]:
        """For each lease: 1 prolonged, 0 somebody else's by now, -1 unknown to Redis, 2 without its slots. One
        round trip."""
        held = chain.from_iterable((o.job_id, o.lane, o.token, o.limit_keys) for o in leases)
        renewed: list[int] = await _run(self._renew, [lease_ms, *held])
        return renewed

    async def finish(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """For each outcome, whether it was accepted: its lease was still this worker's. One round trip."""
        args: list[str | bytes | int] = []
        for o in outcomes:
            args += (o.lease.job_id, o.lease.lane, o.lease.token, o.verb, o.text)
            args += (o.ttl_ms, o.delay_ms, o.keep_ms, o.lease.limit_keys, o.use, o.to, o.attempts)
        return [reply == 1 for reply in await _run(self._finish, args)]

    async def keep(self, parts: Parts) -> bool:
        """Whether the parts were accepted, as an outcome is. Idempotent. One round trip."""
        fields = chain.from_iterable(parts.fields.items())
        return bool(await _run(self._keep, [parts.lease.job_id, parts.lease.token, *fields]))


async def _run(script: AsyncScript, args: Sequence[Any]) -> Any:
    with as_unreachable():
        return await script(args=args)


def _claimed(row: _Row, token: str) -> Claimed:
    job_id, lane, place, payload, tries, crashes, abort_ms, limit_keys, tokens, usd, shut = row
    return Claimed(
        lease=Lease(job_id.decode(), lane.decode(), with_place(token, place.decode()), limit_keys.decode()),
        payload=payload,
        has_run=tries is not None or bool(crashes),
        tries_used=int(tries or 0),
        crashes=crashes,
        abort_ms=int(float(abort_ms or 0)),
        tokens=tokens,
        usd=float(usd),
        shut=shut.decode(),
    )
