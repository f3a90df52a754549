"""The one loader of Lua, for the client and the worker, which finds out first whether it may be run.

Each file of Lua begins with its contract. It names the shared files that it needs (`-- needs: state, room`), which are
read before it, each once and with their own needs. In front of all stands KEY, the names of client/wire/keys.py, and
FACT, what else both sides have to agree on; no Lua makes up a name of its own.
In KEYS are the epoch and a key that never is there: a script runs whole or not at all, wherever its slot is going.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, reduce
from importlib.resources import files
from operator import or_
from typing import Any
from weakref import WeakKeyDictionary

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from ..wire.events import FIELD, RESET
from ..wire.keys import ATTEMPTS_TTL_S, ELSEWHERE_MS, MAX_ATTEMPTS, Keys
from ..wire.reservation import FALLBACK_AFTER_MS, FALLBACK_LIFE_SHARE
from .rights import NOTHING, Needs, RightsMissing, as_rules, needs_of

CLIENT = __name__.removesuffix(".redis.scripts")  # whatever it is called where it is vendored
ADDS = ("enqueue",)  # verbs that a full server refuses: they add jobs
_NEEDS = re.compile(r"^-- needs: (.+)$", re.MULTILINE)
_FACTS = {
    "elsewhere_ms": ELSEWHERE_MS,
    "event_field": repr(FIELD),
    "reset": repr(RESET.decode()),
    "attempts_ttl_ms": ATTEMPTS_TTL_S * 1000,
    "max_attempts": MAX_ATTEMPTS,
    "fallback_ms": FALLBACK_AFTER_MS,
    "fallback_share": FALLBACK_LIFE_SHARE,
}


_allowed: WeakKeyDictionary[object, set[Needs]] = WeakKeyDictionary()  # by pool of connections


class _Whole(AsyncScript):
    """A script that a cluster refuses before its first line, where the key that is there and the one that never is are
    not both to be had: what it reads and writes besides is in their slot."""

    def __init__(self, redis: Redis, text: str, keys: Keys) -> None:
        super().__init__(redis, text)
        self._declared = (keys.epoch, keys.nothing)

    async def __call__(self, *given: Any, **more: Any) -> Any:
        return await super().__call__(self._declared, *given, **more)


class Verb(_Whole):
    """A script that is not sent before its user is known to be allowed all that it and its siblings do.

    Redis at its maxmemory refuses a script's first write if it may need memory, and none that comes after it. So what
    was refused goes again, behind a write that needs none: all verbs but ADDS, those that free memory and those without
    which no job would end. What they add to a full server has a bound: for each job that was queued one result, its
    stream and a few lines, all of which expire, and nothing new is queued meanwhile.
    """

    def __init__(self, redis: Redis, text: str, if_full: str | None, keys: Keys, needs: Needs) -> None:
        super().__init__(redis, text, keys)
        self._if_full = if_full
        self._keys, self._needs = keys, needs
        self._is_allowed = False

    async def __call__(self, *given: Any, **more: Any) -> Any:
        if not self._is_allowed:
            await check(self.registered_client, self._keys, self._needs)
            self._is_allowed = True
        try:
            return await super().__call__(*given, **more)
        except redis_errors.ResponseError as error:  # before Redis 7 it is none of its own
            if self._if_full is None or "'maxmemory'" not in str(error):
                raise
            return await _Whole(self.registered_client, self._if_full, self._keys)(*given, **more)


def scripts(redis: Redis, room: str, keys: Keys, *verbs: str, beside: Needs = NOTHING) -> Iterator[Verb]:
    """The verbs in a package's folder `lua`, for one server. What the server has forgotten is sent again.

    The first call of one asks whether the user may do all that they need, and what is needed `beside` them.
    """
    texts = {verb: source(room, verb, keys) for verb in verbs}
    needs = reduce(or_, map(needs_of, texts.values()), beside)
    return (
        Verb(redis, text, None if verb in ADDS else source(room, verb, keys, if_full=True), keys, needs)
        for verb, text in texts.items()
    )


async def check(redis: Redis, keys: Keys, needs: Needs) -> None:
    """Raises RightsMissing where the user may not do all of it. One round trip for each pool of connections."""
    allowed = _allowed.setdefault(redis.connection_pool, set())
    if needs in allowed:
        return
    _, missing = await missing_rights(redis, keys, needs)
    if missing:
        raise RightsMissing(" ".join(missing))
    allowed.add(needs)


async def missing_rights(redis: Redis, keys: Keys, needs: Needs) -> tuple[bool, list[str]]:
    """Whether the server can tell, and what the user may not do, as ACL SETUSER takes it."""
    script = AsyncScript(
        redis, source(CLIENT, "rights", keys)
    )  # of keys that may be refused, it declares none
    can_tell, missing = await script(args=needs.words(keys.names()))
    return can_tell == 1, as_rules(missing)


@cache
def source(room: str, verb: str, keys: Keys, *, if_full: bool = False) -> str:
    """The whole text of a script; `if_full`, behind a write that a full server takes: of what is never there."""
    text = _read(room, verb)
    return whole(f"redis.call('DEL', KEY.nothing)\n{text}" if if_full else text, room, keys)


def whole(text: str, room: str, keys: Keys) -> str:
    """`text` behind all that it needs."""
    shared: dict[str, str] = {}

    def need(part: str) -> None:
        for name in (name for names in _NEEDS.findall(part) for name in names.split(", ")):
            if name not in shared:
                need(_read(room, name))
                shared[name] = _read(room, name)

    need(text)
    code = "\n".join((*shared.values(), text))
    names = {name: repr(key) for name, key in keys.names().items()}
    aside = {
        "ours": "\n".join(keys.names().values()),
        "set_aside": keys.set_aside(""),
        "prefix": keys.prefix,
    }  # no rights are needed for them
    aside |= {name: keys.names()[name] for name in ("aside", "nothing", "limits", "limits_seeded")}
    facts = {**_FACTS, **{name: repr(key) for name, key in aside.items()}}
    return f"{_table('KEY', names, code)}\n{_table('FACT', facts, code)}\n{code}"


def _table(table: str, values: Mapping[str, object], code: str) -> str:
    """Of all values those that the code asks for. Raises KeyError on a name that is none."""
    asked = sorted(set(re.findall(rf"\b{table}\.(\w+)", code)))
    return f"local {table} = {{ {', '.join(f'{name} = {values[name]}' for name in asked)} }}"


@cache
def _read(room: str, name: str) -> str:
    folders = (files(package).joinpath("lua") for package in (room, CLIENT, f"{CLIENT}.limits"))
    return next(file for folder in folders if (file := folder.joinpath(f"{name}.lua")).is_file()).read_text(
        encoding="utf-8"
    )
