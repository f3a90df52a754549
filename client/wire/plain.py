"""What JSON has: what would silently become something else, as a datetime becomes a text, is refused."""

from __future__ import annotations

from dataclasses import is_dataclass
from itertools import islice
from typing import Any

from pydantic import BaseModel

from ..errors import Unserializable

MOST_LOOKED_AT = 100_000  # values; what has more is known to be too large once it is written
_NUMBERS = frozenset({int, float, bool, type(None)})
_SCALARS = _NUMBERS | {str}
_MANY = 100  # of a list's: then a look at all at once is the quicker one
_KINDS = (BaseModel, BaseException, str, int, float, bool)  # models write themselves, errors we do


def look_through(waiting: list[Any], most: int = MOST_LOOKED_AT) -> tuple[int, Unserializable | None]:
    """How many characters the texts within have, at least, and what to raise where a value is neither JSON data nor a
    pydantic model, a dataclass or an exception: it names the first of its kind.

    What is found within is added to `waiting`. Of it, so many are looked at, and those behind are to be looked at once
    it is written: before, it may hold a circle. Numbers in a list cost next to nothing.
    """
    size_chars, refused = 0, None
    for value in islice(waiting, most):
        kind = type(value)
        if kind is dict or isinstance(value, dict):
            for key, each in value.items():
                if type(key) is not str:
                    refused = refused or _refused_key(key)
                kind = type(each)
                if kind is str:
                    size_chars += len(each)
                elif kind not in _SCALARS:
                    waiting.append(each)
        elif kind is str:
            size_chars += len(value)
        elif kind is list or isinstance(value, (list, tuple)):
            waiting += () if len(value) > _MANY and _NUMBERS.issuperset(map(type, value)) else value
        elif kind not in _SCALARS:
            refused = refused or _refused_kind(value)
    return size_chars, refused


def _refused_key(key: Any) -> Unserializable | None:
    if isinstance(key, str):
        return None
    return Unserializable(
        f"The key {key!r} of an object is no text, and JSON has no others: write it as a text."
    )


def _refused_kind(value: Any) -> Unserializable | None:
    return None if isinstance(value, _KINDS) or is_dataclass(value) else refusal(value)


def refusal(value: Any) -> Unserializable:
    return Unserializable(
        f"A {type(value).__module__}.{type(value).__qualname__} cannot be written as JSON: "
        "pass and return JSON data or pydantic models."
    )
