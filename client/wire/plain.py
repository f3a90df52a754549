"""What JSON has: what would silently become something else, as a datetime becomes a text, is refused."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from pydantic import BaseModel

from ..errors import Unserializable

_SCALARS = frozenset({str, int, float, bool, type(None)})
_KINDS = (
    str,
    int,
    float,
    bool,
    list,
    tuple,
    dict,
    BaseModel,
    BaseException,
)  # models write themselves, errors we do


def check_plain(*values: Any) -> None:
    """Raises Unserializable, naming the first kind of value that is neither JSON data nor a pydantic model, a dataclass
    or an exception. These have been written by now: so they hold no circle. Numbers in a list cost next to nothing."""
    waiting = list(values)
    for value in waiting:  # which grows meanwhile
        if type(value) in _SCALARS:
            continue
        if isinstance(value, dict):
            for key, each in value.items():
                if type(key) is not str and not isinstance(key, str):
                    raise Unserializable(
                        f"The key {key!r} of an object is no text, and JSON has no others: write it as a text."
                    )
                if type(each) not in _SCALARS:
                    waiting.append(each)
        elif isinstance(value, (list, tuple)):
            if not _SCALARS.issuperset(map(type, value)):
                waiting += [each for each in value if type(each) not in _SCALARS]
        elif not isinstance(value, _KINDS) and not is_dataclass(value):
            raise refusal(value)


def refusal(value: Any) -> Unserializable:
    return Unserializable(
        f"A {type(value).__module__}.{type(value).__qualname__} cannot be written as JSON: "
        "pass and return JSON data or pydantic models."
    )
