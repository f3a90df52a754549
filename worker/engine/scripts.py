"""The engine's Lua scripts, each behind one typed function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from typing import Any, Literal

from arq import ArqRedis
from redis.commands.core import AsyncScript
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from client import keys

DEAD_TTL_S = 30 * 86_400  # how long a dead letter waits for somebody to look at it

# A server that cannot write for now. Redis before 7 hides the first two in an error of the script.
_REFUSALS = {"OOM ": OutOfMemoryError, "READONLY ": ReadOnlyError, "MISCONF ": ReadOnlyError}

Verb = Literal["done", "dead", "retry", "again", "back"]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a job: its id, its lane, and the fencing token that proves it."""

    job_id: str
    lane: str
    token: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job this worker has leased."""

    lease: Lease
    score_ms: int  # when it was due
    payload: bytes | None  # None: its deadline has passed
    has_run: bool  # a run of it has ended before, in a retry
    tries_used: int
    crashes: int  # workers that died while they ran it, now that one more has
    abort_ms: int  # when somebody asked to abort it; 0 for nobody


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim brought."""

    now_ms: int
    next_ms: int  # the next moment worth a claim; -1 for none known
    more: bool  # more may be due already
    aborts: list[str]
    jobs: list[Claimed]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended, or what is to become of it."""

    lease: Lease
    verb: Verb
    text: bytes = b""  # the result record; empty keeps none
    ttl_ms: int = 0
    moment_ms: int = 0  # retry, again: the delay; back: the score it had
    keep_ms: int = 0


class EngineScripts:
    """The scripts, bound to one connection pool."""

    def __init__(self, redis: ArqRedis) -> None:
        self._claim = redis.register_script(_source("claim"))
        self._renew = redis.register_script(_source("renew"))
        self._finish = redis.register_script(_source("finish"))

    async def claim(self, queue: str, worker: str, *, want: int, lease_ms: int, hold_ms: int) -> Claim:
        """Leases up to `want` due jobs of `queue` and of all lanes. One round trip."""
        prefixes = (
            keys.in_progress(""),
            keys.job(""),
            keys.retry(""),
            keys.result(""),
            keys.crashes(""),
        )
        now_ms, next_ms, more, token, aborts, taken = await _run(
            self._claim, [keys.LANES, queue, keys.ABORTS], [want, lease_ms, hold_ms, worker, *prefixes]
        )
        token = token.decode()
        return Claim(
            now_ms,
            next_ms,
            more == 1,
            [id_.decode() for id_ in aborts],
            [_claimed(row, token) for row in taken],
        )

    async def renew(self, leases: Sequence[Lease], lease_ms: int) -> list[int]:
        """For each lease: 1 prolonged, 0 somebody else's by now, -1 unknown to Redis. One round trip."""
        held = chain.from_iterable((lease.job_id, lease.lane, lease.token) for lease in leases)
        renewed: list[int] = await _run(self._renew, [], [lease_ms, keys.in_progress(""), *held])
        return renewed

    async def finish(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """For each outcome, whether it was accepted: its lease was still this worker's. One round trip."""
        args: list[str | bytes | int] = [
            keys.in_progress(""),
            keys.job(""),
            keys.retry(""),
            keys.result(""),
            keys.crashes(""),
            keys.attempts(""),
            keys.dead(""),
            keys.done_channel(""),
            keys.WAKE_CHANNEL,
            DEAD_TTL_S * 1000,
        ]
        for o in outcomes:
            args += (o.lease.job_id, o.lease.lane, o.lease.token, o.verb, o.text)
            args += (o.ttl_ms, o.moment_ms, o.keep_ms)
        replies = await _run(self._finish, [keys.LANES, keys.ABORTS, keys.DEAD], args)
        return [reply == 1 for reply in replies]


async def _run(script: AsyncScript, names: Sequence[str], args: Sequence[Any]) -> Any:
    try:
        return await script(names, args)
    except ResponseError as error:
        for word, kind in _REFUSALS.items():
            if word in str(error):
                raise kind(str(error)) from None
        raise


def _claimed(row: list[bytes | int | None], token: str) -> Claimed:
    job_id, lane, score, payload, tries, crashes, abort = row
    assert isinstance(job_id, bytes)
    assert isinstance(lane, bytes)
    return Claimed(
        lease=Lease(job_id.decode(), lane.decode(), token),
        score_ms=int(float(score or 0)),
        payload=payload if isinstance(payload, bytes) else None,
        has_run=tries is not None,
        tries_used=int(tries or 0),
        crashes=int(crashes or 0),
        abort_ms=int(float(abort or 0)),
    )


def _source(verb: str) -> str:
    return files(__package__).joinpath("lua", f"{verb}.lua").read_text()
