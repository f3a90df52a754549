"""Whatever a stranger may write into any key of ours: another type, and strange rows of the right one.

The kinds of keys, and their types, are those of the table in client/wire/keys.py: a new one is tried by itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from client.wire import keys as module
from client.wire.keys import KEYS

NOW = "NOW"  # in a text, it becomes the server's time in ms
VICTIM, MODEL, TALK = "victim", "host/odd", "conversation:odd"
LANE = f"{MODEL}|tenant:odd"

# Of which of its family a strange key is: what only the strange job has to do with, and what healthy ones have, too
OF_JOBS = (VICTIM, "", "=0:abc")
ODD_KEYS = (MODEL, "tenant:odd", TALK)
SUBJECTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("job", "in_progress", "retry", "result", "attempts", "last", "crashes", "dead"), OF_JOBS
    ),
    **dict.fromkeys(("stream", "parts", "events_channel", "done_channel"), OF_JOBS),
    **dict.fromkeys(("flow", "slots", "blocked", "turns"), ODD_KEYS),
    "lane": (LANE, "odd", "cpu|odd", "\udcff"),
    "cost": ("TODAY", "odd"),
    "counted": ("odd",),
    "own_lanes": ("odd",),
    "set_aside": ("odd",),
    "calls_channel": ("CALLS", "odd"),
}
# Those of which another type in its place must not hurt a healthy job either
SHARED = {"flow": "host/m", "slots": "pool", "blocked": "pool", "turns": "conversation:c"}

# What is deleted here is lost with all that only it knew: nobody can tell, until the next look that nothing has to wake
INDICES = ("lanes", "cpu_lanes", "gates")
_TYPES = ("missing", "string", "list", "hash", "set", "zset", "stream")
_ROW = re.compile(
    r"^    ((?:arq|mill):\S+|\{lane\}:health-check) +(string|list|hash|set|zset|stream|channel|any|—)", re.M
)


def types() -> dict[str, str]:
    """Kind → the type that the table gives it. `health` is no name of the class, but is in the table."""
    told = {re.sub(r"\{\w+\}|=\{part\}", "", name): kind for name, kind in _ROW.findall(module.__doc__ or "")}
    kinds = {kind: told[name] for kind, name in KEYS.names().items()}
    return {**kinds, "health": told[":health-check"]}


@dataclass(frozen=True, repr=False)
class Strange:
    """One thing that a stranger did: commands, with NOW in their texts where it matters."""

    key: bytes
    commands: tuple[tuple[Any, ...], ...]

    def __repr__(self) -> str:  # some have a megabyte
        return "; ".join(" ".join(f"{word!r:.60}" for word in command) for command in self.commands)


def _packed(value: Any) -> bytes:
    return json.dumps(value).encode()


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=6,
).map(_packed)
_NUMBERS = b",0,-1,1,nan,inf,-inf,1e308,-1e308,1e-308,0x1F, 7,1e15,3.5,NOW,NOW000,true,9223372036854775807"
NUMBERS = st.sampled_from([*_NUMBERS.split(b","), b"-9223372036854775808", b"9" * 400])
JUNK = st.sampled_from(
    [
        *(
            b"\xff\xfe\xfa",
            b"\x00",
            b"\n",
            b" ",
            b"{",
            b"[]",
            b"null",
            b"{}",
            b'{"a":1}',
            b"[" * 3_000,
            b"ended",
        ),
        *(
            b"\x80\x04\x95.",
            b"\x82\xa1f\xa4chat\xa1a\x90",
            b"x" * 1_000_000,
            b"a|" * 5_000,
            b"a:" * 5_000,
            b"!",
        ),
        *(b"!x|1|c|1|1|k", b"!x|%b|mill:calls:odd|%b|-1|host/odd" % (b"9" * 300, b"9" * 300), b"mill:"),
        *(b"mill:1:w@inf", b"x 99999999999999"),
    ]
)
# What belongs somewhere, and so may well be looked at
_OTHERS = (KEYS.limits, KEYS.lanes, KEYS.dead_letters, KEYS.gates, KEYS.returns, KEYS.aborts)
NAMES = st.sampled_from(
    [
        *(
            KEYS.lane(LANE),
            KEYS.lane(""),
            KEYS.queue,
            "another:queue",
            VICTIM,
            MODEL,
            "host",
            TALK,
            "*",
            "@chat",
        ),
        *(f"{KEYS.lane(LANE)}\n{VICTIM}", f"nowhere\n{VICTIM}", f"{KEYS.lanes}\n{KEYS.lane('')}"),
        *(f"{KEYS.limits}\nx", f"5 {KEYS.lane(LANE)}\n{VICTIM}", f"NOW {KEYS.lane(LANE)}", f"x {KEYS.lanes}"),
        *(f"nan {KEYS.lane(LANE)}\n{VICTIM}", "NOW mill:NOW000:w:1@5", "NOW x", "host/odd|-|calls", "e"),
        *("host/odd|-|usd", "calls", "a|b|c|d", *_OTHERS),
    ]
).map(str.encode)
VALUES = st.one_of(NUMBERS, JUNK, NAMES, ANY_JSON, st.binary(max_size=40))
SCORES = st.sampled_from(
    ["-inf", "inf", "0", "-1", "1", "1e300", "-1e300", "NOW", "NOW000", "1.5", "253370764800000"]
)

_STATE = (Path(__file__).parents[2] / "client/limits/lua/state.lua").read_text()
FIELDS: dict[str, list[str]] = {
    "flow": re.findall(r"(\w+) = (?:LEVEL|NUMBER|MOMENT)", _STATE),
    "limits": [MODEL, "host:*", "tenant:odd", "odd"],
    "dead": ["job", "lane", "result", "crashes", "attempts"],
    "aliases": ["@chat", "@embed"],
}
_JSON_FIELDS = ["f", "a", "k", "t", "et", "q", "n", "m", "s", "r", "st", "ft", "id", "e"]
_LIMIT_FIELDS = ["concurrency", "rpm", "tpm", "rpd", "tpd", "usd_per_day", "usd_total", "weight", "paused"]


def _near(fields: list[str]) -> st.SearchStrategy[bytes]:
    """An object of these fields, with values of any kind."""
    value: st.SearchStrategy[Any] = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.just([])
        | st.just({})
    )
    return st.dictionaries(st.sampled_from(fields), value, max_size=8).map(_packed)


def values_of(kind: str) -> st.SearchStrategy[bytes]:
    """What may stand in a key of this kind, some of it nearly right."""
    if kind in ("limits", "limits_seeded"):
        return VALUES | _near(_LIMIT_FIELDS)
    if kind in ("job", "result", "last", "dead", "attempts", "stream", "events_channel"):
        return (
            VALUES
            | _near(_JSON_FIELDS)
            | _near(["kind", "text", "after", "error", "object", "type", "number"])
        )
    if kind in ("flow", "cost", "retry", "counted"):
        return NUMBERS | VALUES
    return VALUES


def rows(kind: str, type_: str, key: bytes, draw: st.DrawFn) -> tuple[tuple[Any, ...], ...]:
    """Strange rows in a key that has the right type."""
    value = values_of(kind)
    field = st.sampled_from(FIELDS[kind]).map(str.encode) if kind in FIELDS else VALUES
    count = draw(st.integers(1, 4))
    if type_ == "string":
        return (("SET", key, draw(value)),)
    if type_ == "list":
        return tuple(("RPUSH", key, draw(value)) for _ in range(count))
    if type_ == "set":
        return tuple(("SADD", key, draw(value)) for _ in range(count))
    if type_ == "hash":
        return tuple(("HSET", key, draw(field | VALUES), draw(value)) for _ in range(3 * count))
    if type_ == "zset":
        return tuple(("ZADD", key, draw(SCORES), draw(value)) for _ in range(count))
    if type_ == "channel":
        return tuple(("PUBLISH", key, draw(value)) for _ in range(count))
    if type_ == "stream":
        place = draw(
            st.sampled_from(["*", "18446744073709551615-18446744073709551615", "18446744073709551615-1"])
        )
        return (("XADD", key, place, draw(st.sampled_from([b"e", b"odd"])), draw(value)),)
    return (("DEL", key),)


def key_of(kind: str, subject: str) -> bytes:
    made: Any = KEYS.health(KEYS.queue) if kind == "health" else getattr(KEYS, kind)
    return str(made if isinstance(made, str) else made(subject)).encode("utf-8", "surrogateescape")


@st.composite
def strange(draw: st.DrawFn, kind: str) -> Strange:
    """Another type in the place of a key, or rows that nobody of ours would write."""
    type_ = types()[kind]
    subject = draw(st.sampled_from(SUBJECTS.get(kind, ("",))))
    if type_ == "channel" or draw(st.booleans()):
        key = key_of(kind, subject)
        return Strange(key, (*rows(kind, type_, key, draw), *_seen(kind, key, subject)))
    if kind in SHARED and draw(st.booleans()):
        subject = SHARED[kind]
    is_shared = subject == SHARED.get(kind) or kind in INDICES
    other = draw(st.sampled_from([each for each in _TYPES[is_shared:] if each != type_]))
    key = key_of(kind, subject)
    return Strange(key, (("DEL", key), *rows(kind, other, key, draw), *_seen(kind, key, subject)))


def _seen(kind: str, key: bytes, subject: str) -> tuple[tuple[Any, ...], ...]:
    """What has somebody look at it."""
    if kind == "lane":
        return (("ZADD", KEYS.lanes, "0", key),)
    return (("ZADD", KEYS.gates, "0", subject),) if kind == "blocked" else ()
