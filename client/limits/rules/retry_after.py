"""How long an answer's headers ask us to wait. Pure; never raises, whatever a proxy wrote there."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

MAX_RETRY_AFTER_S = 3_600.0  # seconds; a longer wait is asked for again rather than believed


class Headers(Protocol):
    """Those of any HTTP library, or a dict with names in lower case."""

    def get(self, name: str, /) -> str | None: ...


def retry_after_s(headers: Headers, now: datetime | None = None) -> float | None:
    """Seconds from `now` (UTC), between 0 and MAX_RETRY_AFTER_S; None where nothing readable is said.

    `retry-after-ms` (OpenAI, Azure) is the more precise and goes first; `retry-after` is a number of
    seconds or an HTTP date (RFC 9110, 10.2.3). A date in the past is 0; a negative number says nothing.
    """
    milliseconds = nonnegative(_first(headers, "retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, MAX_RETRY_AFTER_S)
    value = _first(headers, "retry-after")
    seconds = nonnegative(value)
    if seconds is None and value:
        seconds = _until(value, now or datetime.now(UTC))
    return None if seconds is None else min(seconds, MAX_RETRY_AFTER_S)


def _first(headers: Headers, name: str) -> str | None:
    """LiteLLM passes on what its provider said under another name."""
    return headers.get(name) or headers.get(f"llm_provider-{name}")


def nonnegative(value: str | None) -> float | None:
    """A finite number, 0 or more."""
    try:
        found = float(value or "")
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _until(value: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000": UTC, by RFC 5322
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
