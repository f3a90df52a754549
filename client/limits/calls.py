"""The Lua scripts of calls that take slots of their own, each behind one typed function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from redis.asyncio import Redis

from ..redis.scripts import scripts
from ..wire.keys import Keys
from ..wire.use import UNUSED
from .explain import found


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call that wants one slot of each of its keys, all or none. Its id says in Redis who it is."""

    id: str  # '!…'
    channel: str  # where its process listens
    keys: tuple[str, ...]
    tokens: int
    lease_s: float

    def __str__(self) -> str:
        no_output = -1  # its tokens are all that it reserves
        parts = self.id, round(self.lease_s * 1000), self.channel, self.tokens, no_output, *self.keys
        return "|".join(map(str, parts))


@dataclass(frozen=True, slots=True)
class Grant:
    """A call's slots, and what was reserved with them."""

    tokens: int
    usd: float
    since_ms: int


class Standing(NamedTuple):
    since: str
    waits_for: str  # a limit key; empty where it has its slots
    grant: Grant


class Acquired(NamedTuple):
    look_in_s: float | None  # until a key that somebody waits for deserves a look
    epoch: str  # another one than before: Redis has lost its data
    calls: list[Standing]


class Release(NamedTuple):
    """`use`: see release.lua."""

    ticket: Ticket
    since_ms: int = 0
    use: str = UNUSED


class CallScripts:
    """The scripts, bound to one server."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        verbs = scripts(redis, __package__, keys, "acquire", "release", "hold")
        self._acquire, self._release, self._hold = verbs

    async def acquire(self, asks: Sequence[tuple[Ticket, str]], epoch: str = "") -> Acquired:
        """Takes slots, or a place in the queue. Idempotent. With no `asks`, opens the keys that are due.

        Beside each ticket is the `since` of the answer before, so that who asks again keeps its place; '' at first.
        """
        args = [epoch]
        for ticket, since in asks:
            args += (str(ticket), since)
        look_in_ms, now_epoch, answers = await self._acquire(args=args)
        look_in_s = None if look_in_ms < 0 else look_in_ms / 1000
        return Acquired(look_in_s, now_epoch.decode(), [_answer(*row) for row in answers])

    async def release(self, releases: Sequence[Release]) -> list[bool]:
        """Frees slots and places, and settles what was used. True where a call had slots. Idempotent."""
        args: list[str | int] = []
        for ended in releases:
            args += (str(ended.ticket), ended.since_ms, ended.use)
        return [had == 1 for had in await self._release(args=args)]

    async def hold(self, tickets: Sequence[Ticket]) -> list[bool]:
        """Prolongs the slots of calls. False where one has lost its own."""
        return [kept == 1 for kept in await self._hold(args=list(map(str, tickets)))]

    async def epoch(self) -> str:
        """The name of the time since Redis last lost its data; empty where nobody has given it one."""
        text: bytes | None = await self._redis.get(self._keys.epoch)
        return text.decode(errors="replace").partition(" ")[0] if text else ""

    async def blocked(self, ticket: Ticket, key: str) -> str:
        """Why a key of the call lets it wait: the rest of a sentence that begins with the key."""
        call = await found(self._redis, self._keys, str(ticket))
        blocked = next(seen.blocked for seen in call.keys if seen.key == key)
        return blocked.detail if blocked else "others are before it"


def heard(message: bytes) -> tuple[str, Grant]:
    """The id of a call that has its slots now, as its process is told of it. Raises ValueError on any other message."""
    id_, tokens, usd, now_ms = message.decode().split(" ")
    return f"!{id_}", Grant(int(tokens), float(usd), int(now_ms))


def _answer(since: bytes, waits_for: bytes, tokens: int, usd: bytes, since_ms: int) -> Standing:
    return Standing(since.decode(), waits_for.decode(), Grant(tokens, float(usd), since_ms))
