"""How long a provider asks us to wait, in all the forms the answer takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from client.limits.rules.retry_after import MAX_RETRY_AFTER_S, nonnegative, retry_after_s

__all__ = ["DAILY_WAIT_S", "MAX_RETRY_AFTER_S", "retry_after_in", "retry_after_s"]

# seconds; the least where a quota of the day is used up, of which Google says "17s", too
DAILY_WAIT_S = 900.0

# "try again in 7m12s" (OpenAI), "in 174ms", "retry after 26 seconds" (Azure), "retry in 17.3s" (Google)
_SPOKEN = re.compile(r"(?:again|retry) (?:in|after) ((?:[\d.]+ ?(?:ms|h|m|s)[a-z]* ?)+)", re.I)
_AMOUNT = re.compile(r"([\d.]+) ?(ms|h|m|s)", re.I)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def retry_after_in(error: Mapping[str, Any]) -> float | None:
    """As `retry_after_s`, from an error's body: Google's details, else the words of its message."""
    details = error.get("details")
    found = [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    told = [_duration(detail["retryDelay"]) for detail in found if "retryDelay" in detail]
    seconds = next((wait for wait in told if wait is not None), None)
    if seconds is None:
        seconds = _spoken(error.get("message"))
    if any(_is_daily(detail) for detail in found):
        seconds = max(seconds or 0.0, DAILY_WAIT_S)
    return None if seconds is None else min(seconds, MAX_RETRY_AFTER_S)


def _duration(value: Any) -> float | None:
    """protobuf's: "17s", or {"seconds": 17}."""
    if isinstance(value, dict):
        value = str(value.get("seconds"))
    return nonnegative(value.removesuffix("s")) if isinstance(value, str) else None


def _spoken(message: Any) -> float | None:
    said = _SPOKEN.search(message) if isinstance(message, str) else None
    if said is None:
        return None
    amounts = [(nonnegative(number), _SECONDS[unit.lower()]) for number, unit in _AMOUNT.findall(said[1])]
    return sum(number * scale for number, scale in amounts if number is not None)


def _is_daily(detail: dict[str, Any]) -> bool:
    violations = detail.get("violations")
    return isinstance(violations, list) and any(
        "PerDay" in str(each.get("quotaId")) for each in violations if isinstance(each, dict)
    )
