"""A limit: what a key may take. One model, one grammar of words, one form in Redis. Nothing is sent here.

    concurrency=50 rpm=600 tpm=100_000     the words
    {"concurrency":50,"rpm":600, …}        in Redis, only the fields that are set

A name of a limit is a limit key, or a pattern `prefix:*` for the keys that begin so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ...errors import InvalidRequest
from .lanes import checked_key

MOST = 10**12  # a larger number is a mistake, and loses digits in Lua
CLEARS = frozenset({"none", "-"})  # values that take a field away

# What each field takes, in the words of a refusal.
FIELDS = {
    "concurrency": "a whole number, 0 or more",
    "rpm": "a number above 0",
    "tpm": "a number above 0",
    "rpd": "a number above 0",
    "tpd": "a number above 0",
    "usd_per_day": "a number, 0 or more",
    "usd_total": "a number, 0 or more",
    "weight": "a whole number from 1 to 100",
    "paused": "true or false",
}


def _number(value: Any) -> Any:
    """`100_000` and `1.5` as numbers; true is no number."""
    if isinstance(value, bool):
        raise ValueError("not a number")
    if isinstance(value, str):
        value = float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _true_or_unset(value: Any) -> Any:
    return None if value is False or str(value).lower() == "false" else value


Whole = Annotated[int, BeforeValidator(_number), Field(le=MOST)]
Number = Annotated[int | float, BeforeValidator(_number), Field(le=MOST, allow_inf_nan=False)]


class Limit(BaseModel):
    """What a limit key may take; a field that is None limits nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concurrency: Annotated[Whole, Field(ge=0)] | None = None  # jobs and calls at once; 0 closes the key
    rpm: Annotated[Number, Field(gt=0)] | None = None  # requests a minute
    tpm: Annotated[Number, Field(gt=0)] | None = None  # tokens a minute, input and output
    rpd: Annotated[Number, Field(gt=0)] | None = None  # requests a day, UTC
    tpd: Annotated[Number, Field(gt=0)] | None = None  # tokens a day, UTC
    usd_per_day: Annotated[Number, Field(ge=0)] | None = None  # US dollars a day, UTC
    usd_total: Annotated[Number, Field(ge=0)] | None = None  # US dollars in all: a batch's budget
    weight: Annotated[Whole, Field(ge=1, le=100)] | None = None  # jobs a turn; 1 where unset
    paused: Annotated[bool | None, BeforeValidator(_true_or_unset)] = None  # True: nothing starts

    def fields(self) -> dict[str, int | float | bool]:
        """The fields that are set."""
        return self.model_dump(exclude_none=True)

    def words(self) -> str:
        """The grammar that parse_limit reads; '' where nothing is limited."""
        return " ".join(f"{name}={_text(value)}" for name, value in self.fields().items())

    def to_json(self) -> str:
        """As it is in Redis: equal limits have equal texts."""
        return json.dumps(self.fields(), separators=(",", ":"))


class LimitFields(TypedDict, total=False):
    """Fields of a Limit to be changed; None takes one away."""

    concurrency: int | None
    rpm: float | None
    tpm: float | None
    rpd: float | None
    tpd: float | None
    usd_per_day: float | None
    usd_total: float | None
    weight: int | None
    paused: bool | None


DEFAULTS = {"conversation:*": Limit(concurrency=1)}  # its turns follow one another; state.lua has the same


def parse_limit(words: str | Iterable[str]) -> Limit:
    """`concurrency=50 rpm=600 tpm=100_000` → Limit. Raises InvalidRequest."""
    return made(fields_of(words))


def parse_changes(words: str | Iterable[str]) -> LimitFields:
    """The same grammar as changes to a limit: `rpm=none`, or `rpm=-`, takes a field away."""
    texts = fields_of(words)
    limit = made(texts)
    changes: Any = {name: getattr(limit, name) for name in texts}
    return changes  # type: ignore[no-any-return]


def fields_of(words: str | Iterable[str]) -> dict[str, str | None]:
    """Field → text, or None where it is to be cleared. Raises InvalidRequest; values are not checked."""
    found: dict[str, str | None] = {}
    for word in words.split() if isinstance(words, str) else words:
        name, equals, value = word.partition("=")
        if name not in FIELDS or not equals:
            raise InvalidRequest(
                f"{_short(word)} is no limit: it is written FIELD=VALUE, with one of the fields {_known()}."
            )
        if name in found:
            raise InvalidRequest(f"{name} is there twice: a limit has each of its fields once.")
        found[name] = None if value.lower() in CLEARS else value
    return found


def made(fields: Mapping[str, Any]) -> Limit:
    """The limit of these fields. Raises InvalidRequest, one sentence."""
    try:
        return Limit.model_validate(dict(fields))
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
    if name not in FIELDS:
        raise InvalidRequest(f"{_short(name)} is no field of a limit: its fields are {_known()}.")
    raise InvalidRequest(f"{name} is {FIELDS[name]}, not {_short(fields[name])}; the fields are {_known()}.")


def from_json(data: bytes | str | None) -> Limit:
    """A limit as it is in Redis. What this version does not know is left out, and so is what is no such number."""
    try:
        fields = json.loads(data or b"{}")
        return made(
            {name: value for name, value in fields.items() if name in FIELDS and _can_be(name, value)}
        )
    except (ValueError, AttributeError, InvalidRequest, RecursionError):  # written by a stranger
        return Limit()


def _can_be(name: str, value: Any) -> bool:
    try:
        made({name: value})
    except InvalidRequest:
        return False
    return True


def checked_name(name: str) -> str:
    """A limit key or a pattern, the provider of a model in lower case. Raises InvalidRequest."""
    if isinstance(name, str) and name.endswith("*"):
        prefix = checked_key(name[:-1]) if len(name) > 1 else ""
        if not prefix.endswith(":"):
            raise InvalidRequest(f"A pattern ends with ':*', as tenant:* does, unlike {_short(name)}.")
        return name
    provider, slash, model = checked_key(name).partition("/")
    return f"{provider.lower()}/{model}" if slash and ":" not in provider else name


def names_of(key: str) -> list[str]:
    """The entries that may limit a key, the one that wins first: its own, then patterns, longest first."""
    colons = [place.end() for place in re.finditer(":", key)]
    return [key, *(f"{key[:end]}*" for end in reversed(colons))]


def in_force(key: str, entries: Mapping[str, Limit]) -> tuple[Limit, str]:
    """The limit of `key` among the configured ones, and where it comes from: 'own', a pattern such as 'tenant:*',
    'default' or 'none'. An own entry replaces a pattern's wholly."""
    for name in names_of(key):
        if name in entries:
            return (entries[name], "own" if name == key else name)
        if name in DEFAULTS:
            return (DEFAULTS[name], "default")
    return (Limit(), "none")


def _text(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _known() -> str:
    *names, last = FIELDS
    return f"{', '.join(names)} and {last}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
