"""The engine's Lua scripts, each behind one typed function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeAlias

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from client import words
from client.redis.scripts import scripts
from client.wire.keys import Keys
from client.wire.record import LAST_MS
from client.wire.token import with_place
from worker.unreachable import as_unreachable

logger = words.logger("arq.worker")

_Unnamed: TypeAlias = tuple[Any, Any, Any, Any]  # bytes: its id, its lane, its token, its limit keys

Verb = Literal["done", "dead", "retry", "throttled", "again", "back", "reroute", "unread"]


class Lease(NamedTuple):
    """The right to run a job: its id, its lane, the fencing token that proves it, and the limit keys under
    which it holds slots, with a newline between them."""

    job_id: str
    lane: str
    token: str
    limit_keys: str = ""
    has_run: bool = False  # before


class Claimed(NamedTuple):
    """A job this worker has leased."""

    lease: Lease
    payload: bytes | None  # None: its deadline has passed
    place: str = "0"  # in its lane: a score
    tries_used: int = 0
    crashes: int = 0  # workers that died while they ran it, now that one more has
    abort_ms: int = 0  # when somebody asked to abort it; 0 for nobody
    tokens: int = 0  # reserved
    usd: float = 0.0  # reserved
    shut: str = ""  # it holds no slots, as its model takes no calls: why, where it can go on to another

    @property
    def has_run(self) -> bool:
        """A run of it has begun before, and ended in a retry or with its worker."""
        return self.lease.has_run

    @property
    def score_ms(self) -> int:
        """When it was due."""
        return int(max(float(self.place), -LAST_MS))

    @property
    def was_unread(self) -> bool:
        """It was left unread until its deadline had passed: then its place is below 0."""
        return self.place.startswith("-")


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
    mine: Sequence[Lease] = ()  # leases of this worker's that had ended, and are prolonged: nobody has died


class Outcome(NamedTuple):
    """How a job ended, or what is to become of it."""

    lease: Lease
    verb: Verb
    text: bytes = b""  # the result record, or how a run ended after which it runs again; empty keeps none
    ttl_ms: int = 0
    delay_ms: int = 0  # retry, again: until it is back in its place
    keep_ms: int = 0
    use: str = ""  # what its calls really used (settlement.py); empty: nothing to settle
    to: str = ""  # reroute: the lane it goes to; done, dead: a stream's TTL, ms, and its last event
    attempts: bytes = b""  # what its calls came to, a line of JSON each, for the runs after it


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run has done of its job, for a later run: fields of its hash."""

    lease: Lease
    fields: Mapping[str, bytes]


class EngineScripts:
    """The scripts, bound to one connection pool."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self.ping = redis.ping
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
        now_ms, next_ms, more, token, aborts, now_epoch, taken, unread, mine = await _run(
            self._claim, [queue, want, lease_ms, hold_ms, worker, epoch, *models, int(overdue)]
        )
        strange: list[_Unnamed] = []
        jobs = [claimed for row in taken for claimed in _claimed(row, token, strange)]
        if strange:
            await self._remove(strange)
        return Claim(
            now_ms,
            next_ms,
            more == 1,
            [id_.decode(errors="replace") for id_ in aborts],
            now_epoch.decode(),
            jobs,
            unread,
            list(_leases(mine)),
        )

    async def _remove(self, rows: Sequence[_Unnamed]) -> None:
        """Ends claimed jobs that nobody can name: no result is kept."""
        named = f"{rows[0][:2]!r:.200}"
        logger.error(
            "%s removed, named by no text: %s", words.counted(len(rows), "job is", "jobs are"), named
        )
        await self.finish([Outcome(Lease(*row), "done") for row in rows])

    async def renew(self, leases: Sequence[Lease], lease_ms: int) -> list[int]:
        """For each lease: 1 prolonged, 0 somebody else's by now, -1 unknown to Redis, 2 without its slots. One
        round trip."""
        held = chain.from_iterable((o.job_id, o.lane, o.token, o.limit_keys) for o in leases)
        renewed: list[int] = await _run(self._renew, [lease_ms, *held])
        return renewed

    async def finish(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """For each outcome, whether it was accepted: its lease was still this worker's. One round trip."""
        kinds: dict[tuple[str | int, ...], int] = {}  # what most have in common is said once
        jobs: list[str | bytes | int] = []
        has_more = any(o.use or o.to or o.attempts for o in outcomes)
        for o in outcomes:
            job_id, lane, token, limit_keys, has_run = o.lease
            kind = (lane, o.verb, o.ttl_ms, o.delay_ms, o.keep_ms, limit_keys, int(has_run))
            jobs += (kinds.setdefault(kind, len(kinds) + 1), job_id, token, o.text)
            if has_more:
                jobs += (o.use, o.to, o.attempts)
        args = [len(kinds), 7 if has_more else 4, *chain.from_iterable(kinds), *jobs]
        return [reply == 1 for reply in await _run(self._finish, args)]

    async def keep(self, parts: Parts) -> bool:
        """Whether the parts were accepted, as an outcome is. Idempotent. One round trip."""
        fields = chain.from_iterable(parts.fields.items())
        return bool(await _run(self._keep, [parts.lease.job_id, parts.lease.token, *fields]))


async def _run(script: AsyncScript, args: Sequence[Any]) -> Any:
    with as_unreachable():
        return await script(args=args)


def _leases(words: Sequence[bytes]) -> Iterator[Lease]:
    each = iter(words)
    for job_id, lane, token, limit_keys in zip(each, each, each, each, strict=True):
        with suppress(UnicodeDecodeError):  # none of ours
            yield Lease(job_id.decode(), lane.decode(), token.decode(), limit_keys.decode())


def _text(word: bytes) -> str | None:
    try:
        return word.decode()
    except UnicodeDecodeError:
        return None


def _claimed(row: Sequence[Any], token: bytes, strange: list[_Unnamed]) -> Iterator[Claimed]:
    """The jobs of one lane in the claim's reply, as claim.lua says. Into `strange` goes what no text names."""
    lane, limit_keys, shut = (_text(word) for word in row[:3])
    each, claimed_by = iter(row[3:]), token.decode()
    for name, score, payload, rest in zip(each, each, each, each, strict=True):
        job_id, place = _text(name), score.decode()
        if job_id is None or lane is None or limit_keys is None or shut is None:
            strange.append((name, row[0], b"%b@%b" % (token, score), row[1]))
            continue
        at = job_id, lane, with_place(claimed_by, place), limit_keys
        if rest is None:
            yield Claimed(Lease(*at), payload, place, shut=shut)
            continue
        tries, crashes, abort_ms, tokens, usd = rest.split()
        has_tries, died = tries != b"-", int(crashes)
        yield Claimed(
            lease=Lease(*at, has_run=has_tries or died > 0),
            payload=payload,
            place=place,
            tries_used=int(tries) if has_tries else 0,
            crashes=died,
            abort_ms=int(min(max(float(abort_ms), 0), LAST_MS)),
            tokens=int(tokens),
            usd=float(usd),
            shut=shut,
        )
