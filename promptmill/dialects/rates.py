"""What a provider's headers say about its rates. Pure; never raises, whatever a proxy wrote there.

    x-ratelimit-{limit,remaining,reset}-{requests,tokens}                   OpenAI, Groq, Azure, LiteLLM, vLLM
    anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}           Anthropic
    anthropic-ratelimit-{input-tokens,output-tokens}-{limit,remaining,reset}

Some of these are per day: Groq's requests always are. No header says which, but a bucket that is full again
`reset` after `limit - remaining` were taken from it refills in `limit * reset / (limit - remaining)`.

Sources: platform.openai.com/docs/guides/rate-limits ("1s", "6m0s"), console.groq.com/docs/rate-limits (14,400
a day, "2m59.56s"), Azure OpenAI's quota guide (plain seconds; -1 where there is no limit),
docs.anthropic.com/en/api/rate-limits (RFC 3339: when the limit is fully replenished).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from .answers import Headers

MAX_WINDOW_S = 120.0  # a bucket that takes longer to refill is not one of a minute
MINUTE_S = 60.0
_MAX_COUNT = 1e12

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


class SeenRates(NamedTuple):
    """Rates a minute; None for what was not told, or was not per minute."""

    rpm: int | None = None
    tpm: int | None = None


class _Reset(NamedTuple):
    """When a bucket is full again: in `s` seconds, told to the nearest `step_s`."""

    s: float
    step_s: float


def seen_rates(headers: Headers, now: datetime | None = None) -> SeenRates:
    """The rates in the headers of an answer or a refusal; `now` (UTC) is for those that send no `date`."""
    requests = _openai(headers, "requests")
    tokens = _openai(headers, "tokens")
    if any(f"anthropic-ratelimit-{what}-limit" in headers for what in ("requests", "tokens", "input-tokens")):
        sent_at = _date(headers.get("date")) or now or datetime.now(UTC)
        requests = requests or _anthropic(headers, "requests", sent_at)
        tokens = tokens or _anthropic_tokens(headers, sent_at)
    return SeenRates(requests, tokens)


def rate_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """What `seen_rates` reads, of a response's headers as they came: quicker than to look each of them up."""
    return {
        name.lower().decode("latin-1"): value.decode("latin-1")
        for name, value in raw
        if b"ratelimit" in name.lower() or name.lower() == b"date"
    }


def _openai(headers: Headers, what: str) -> int | None:
    limit = _count(headers.get(f"x-ratelimit-limit-{what}"))
    left = _count(headers.get(f"x-ratelimit-remaining-{what}"))
    reset = headers.get(f"x-ratelimit-reset-{what}")
    # told without a reset (Azure at times, LiteLLM), it is per minute: whoever counts days says when they end
    return _per_minute(limit, left, _Reset(0.0, 0.0) if not reset else _duration(reset))


def _anthropic(headers: Headers, what: str, sent_at: datetime) -> int | None:
    prefix = f"anthropic-ratelimit-{what}"
    limit, left = _count(headers.get(f"{prefix}-limit")), _count(headers.get(f"{prefix}-remaining"))
    moment = headers.get(f"{prefix}-reset")
    return _per_minute(limit, left, _Reset(0.0, 0.0) if not moment else _until(moment, sent_at))


def _anthropic_tokens(headers: Headers, sent_at: datetime) -> int | None:
    if "anthropic-ratelimit-tokens-limit" in headers:
        return _anthropic(headers, "tokens", sent_at)
    read = _anthropic(headers, "input-tokens", sent_at)
    written = _anthropic(headers, "output-tokens", sent_at)
    return None if read is None or written is None else read + written


def _per_minute(limit: int | None, left: int | None, reset: _Reset | None) -> int | None:
    """The bucket's limit, unless it is one of an hour or a day."""
    if not limit or reset is None:
        return None
    used = limit - left if left is not None else 0
    if used > 0:
        # at least: a reset rounded up to a second would make a day of any large limit
        window_s = limit * max(0.0, reset.s - reset.step_s) / used
        fits = window_s <= MAX_WINDOW_S
    else:
        fits = reset.s <= MINUTE_S
    return limit if fits else None


def _count(text: str | None) -> int | None:
    """A whole number from 0; None for Azure's -1, too, which is no limit at all."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return int(number) if 0 <= number <= _MAX_COUNT else None


def _duration(text: str) -> _Reset | None:
    """`1s`, `6m0s`, `20ms`, `8.64s`, `1h0m5s` or plain seconds; None for anything else."""
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        found = _DURATION.fullmatch(text)
        if not found or not text:
            return None
        parts = zip(found.groups(), _UNITS_S, strict=True)
        return _Reset(sum(float(number) * unit_s for number, unit_s in parts if number), 0.001)
    step_s = 0.001 if "." in text else 1.0
    return _Reset(seconds, step_s) if math.isfinite(seconds) and seconds >= 0 else None


def _until(moment: str, sent_at: datetime) -> _Reset | None:
    """An RFC 3339 moment, told to the second, as seconds after the answer was sent."""
    try:
        at = datetime.fromisoformat(moment.strip())
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return _Reset(max(0.0, (at - sent_at).total_seconds()), 1.0)
    except (ValueError, OverflowError):
        return None


def _date(text: str | None) -> datetime | None:
    """The provider's own clock, where it is told: ours may be minutes away from it."""
    try:
        at = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
