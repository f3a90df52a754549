"""What the user of Redis has to be allowed, and what the sentences call it.

A script is refused at the command that its user may not use, and what stands before it has been done. So whoever runs
scripts asks first whether all of it is allowed (`check`, scripts.py). docs/operations.md lists the rights of each role.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from redis import exceptions as redis_errors

from ..wire.keys import Keys

_IN_LUA = re.compile(r"\b(?:cmd|p?call)\('([A-Z]+)'")
_KEY = re.compile(r"\bKEY\.(\w+)")
_ON_CHANNELS = frozenset({"PUBLISH", "SUBSCRIBE"})
_ON_NOTHING = frozenset(
    {"EXEC", "MULTI", "SCRIPT|LOAD", "TIME", "UNSUBSCRIBE"}
)  # or on channels that were allowed
# What a server's refusal names: Redis 6, Redis 7 and Valkey, and all of them from within scripts
_PLAIN = Keys()  # a refusal does not tell in which namespace it is
_REFUSED = re.compile(r"NOPERM|no permissions|ACL failure in script|user executing the script can't")
_COMMAND = re.compile(r"run the '([^']+)' command")


@dataclass(frozen=True, slots=True)
class Needs:
    """Commands, and keys and channels by their names in client/wire/keys.py."""

    commands: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def __or__(self, other: Needs) -> Needs:
        return Needs(self.commands | other.commands, self.names | other.names)

    def words(self, keys: dict[str, str]) -> list[str]:
        """The arguments of rights.lua."""
        channels = {name for name in self.names if name.endswith("_channel")}
        on_channels = self.commands & _ON_CHANNELS if channels else frozenset[str]()
        parts = (
            self.commands - _ON_CHANNELS - _ON_NOTHING,
            # what each script declares; and the server wants a key to judge by
            {keys[name] for name in (self.names - channels or {"lanes", "queue"}) | {"epoch", "nothing"}},
            on_channels,
            {keys[name] for name in channels},
            self.commands & _ON_NOTHING,
        )
        return [" ".join(sorted(part)) for part in parts]


NOTHING = Needs()


def asked(commands: str, names: str) -> Needs:
    """Those of these words."""
    return Needs(frozenset(commands.upper().split()), frozenset(names.split()))


# Of producers, beside their scripts: to wait for a result, and to follow a stream. Where MULTI is refused, redis-py
# sends what was to be one transaction all the same.
PRODUCER = asked(
    "exec get multi script|load subscribe unsubscribe xrange", "done_channel events_channel result stream"
)
# Of a worker, its scripts included: it asks once, before it claims anything
WORKER = asked(
    """del exec exists expire get getrange hdel hget hgetall hincrby hincrbyfloat hkeys hlen hmget hset incrby lrange
    ltrim mget multi pexpire pttl publish rpush script|load set subscribe time unlink unsubscribe xadd xrange xtrim zadd
    zcard zcount zmscore zpopmin zrange zrangebyscore zrank zrem zremrangebyrank zremrangebyscore zrevrange zscore""",
    """aborts aliases attempts blocked calls_channel cost counted cpu_lanes crashes dead dead_letters done_channel epoch
    events_channel flow gates in_progress job lane lanes last limits limits_seeded own_lanes parts queue result retry
    returns slots stream turns unreadable wake_channel""",
)


class RightsMissing(redis_errors.NoPermissionError):
    """The user may not do all that is needed; it says what is missing. Nothing has been done."""


@cache
def needs_of(script: str) -> Needs:
    """What the text of a script asks for."""
    return Needs(frozenset(_IN_LUA.findall(script)), frozenset(_KEY.findall(script)))


def as_rules(missing: Iterable[bytes]) -> list[str]:
    """What is missing, as ACL SETUSER takes it: +zadd, and the patterns of keys and channels."""
    texts = (one.decode() for one in missing)
    return list(dict.fromkeys(one.lower() if one.startswith("+") else _pattern(one) for one in texts))


def refused_rights(error: BaseException) -> str | None:
    """The rights that a refusal says are missing; None where it is none. A refusal in a script may not name them."""
    if isinstance(error, RightsMissing):
        return str(error)
    words = str(error)
    if not isinstance(error, redis_errors.NoPermissionError) and not _REFUSED.search(words):
        return None
    if command := _COMMAND.search(words):
        return f"+{command[1].lower()}"
    if "channel" in words:
        return _pattern(f"&{_PLAIN.wake_channel}")
    if re.search(r"\bkeys?\b", words):
        return f"{_pattern(f'~{_PLAIN.queue}')} {_pattern(f'~{_PLAIN.lanes}')}"
    return "a command"


def _pattern(rule: str) -> str:
    """Of a key or channel, that of all that begin as it does."""
    return f"{rule.partition(':')[0]}:*"
