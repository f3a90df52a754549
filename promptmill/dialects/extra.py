"""What a provider sent beyond the neutral form, by its own names: nothing that was paid for is dropped.

    message    of the message: annotations, audio, images, refusal, thinking_blocks
    choice     beside the message: logprobs
    response   of the whole reply: citations, groundingMetadata, service_tier
    usage      of the tokens: what no field of Usage holds

A stream adds to the first two piece by piece. Of the other two, what was told last stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, TypeAlias

Extra: TypeAlias = dict[str, dict[str, Any]]

_NUMBERS = (int, float)
_IN_PIECES = ("message", "choice")
# texts that come in pieces; every other is told whole, and perhaps again
_PIECES = frozenset(
    [
        "arguments",
        "content",
        "data",
        "input",
        "partial_json",
        "refusal",
        "signature",
        "summary",
        "text",
        "thinking",
        "transcript",
    ]
)


def unread(fields: Mapping[str, Any], read: Set[str]) -> dict[str, Any]:
    """The fields that say something and are not among those `read`; 0 and False say something."""
    found: dict[str, Any] = {}
    if fields.keys() <= read:
        return found
    for name, value in fields.items():
        if name not in read and (value or (value is not None and isinstance(value, _NUMBERS))):
            found[name] = value
    return found


def unread_usage(usage: Any, read: Set[str]) -> dict[str, Any]:
    """As `unread`, inside of details, too. A count of 0 says nothing."""
    if not isinstance(usage, dict):
        return {}
    found: dict[str, Any] = {}
    for name, value in usage.items():
        if value and name not in read and (said := _told(value, read) if isinstance(value, dict) else value):
            found[name] = said
    return found


def _told(details: Mapping[str, Any], read: Set[str]) -> dict[str, Any]:
    if not any(details.values()):
        return {}
    return {name: value for name, value in details.items() if value and name not in read}


def placed(
    message: dict[str, Any] | None = None,
    choice: dict[str, Any] | None = None,
    response: dict[str, Any] | None = None,
    usage: dict[str, Any] | None = None,
) -> Extra | None:
    """The places where there is something; None for nothing."""
    if not (message or choice or response or usage):
        return None
    found: Extra = {}
    if message:
        found["message"] = message
    if choice:
        found["choice"] = choice
    if response:
        found["response"] = response
    if usage:
        found["usage"] = usage
    return found


def add(total: Extra, told: Extra) -> None:
    """Adds to `total` what one more event of a stream has told."""
    for place, fields in told.items():
        if place in _IN_PIECES:
            join(total.setdefault(place, {}), fields)
        elif (known := total.get(place)) is None:
            total[place] = dict(fields)
        elif known != fields:
            known.update(fields)


def join(known: dict[str, Any], told: Mapping[str, Any]) -> None:
    """Adds the pieces of `told` to what is known: texts and lists grow, all else is replaced."""
    for name, value in told.items():
        old = known.get(name)
        if isinstance(value, dict):
            known[name] = old = old if isinstance(old, dict) else {}
            join(old, value)
        elif isinstance(value, list):
            known[name] = old = old if isinstance(old, list) else []
            _extend(old, value)
        elif isinstance(value, str) and isinstance(old, str) and name in _PIECES:
            known[name] = old + value
        elif value is not None:
            known[name] = value


def _extend(known: list[Any], told: list[Any]) -> None:
    """Entries of the same `index` are pieces of one."""
    for entry in told:
        index = entry.get("index") if isinstance(entry, dict) else None
        same = (e for e in reversed(known) if isinstance(e, dict) and e.get("index") == index)
        if index is not None and (old := next(same, None)) is not None:
            join(old, entry)
        elif isinstance(entry, dict):
            known.append({})
            join(known[-1], entry)
        else:
            known.append(entry)
