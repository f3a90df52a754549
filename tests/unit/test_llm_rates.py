"""What a provider's headers say about its rates."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from promptmill.dialects.rates import SeenRates, _duration, rate_headers, seen_rates

NOW = datetime(2026, 1, 15, 14, 23, 0, tzinfo=UTC)


def openai(what: str, limit: object, left: object = None, reset: object = None) -> dict[str, str]:
    told = {"limit": limit, "remaining": left, "reset": reset}
    return {f"x-ratelimit-{name}-{what}": str(value) for name, value in told.items() if value is not None}


def anthropic(what: str, limit: object, left: object, reset: object) -> dict[str, str]:
    told = {"limit": limit, "remaining": left, "reset": reset}
    return {f"anthropic-ratelimit-{what}-{name}": str(value) for name, value in told.items()}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("8.64s", 8.64), ("1h0m5s", 3605), ("2m59.56s", 179.56),
        ("1d2h", 93_600), ("17", 17), ("0.5", 0.5), ("0", 0), (" 3s ", 3),
        ("", None), ("soon", None), ("-1", None), ("nan", None), ("inf", None), ("1s2m", None), ("5 s", None),
    ],
)  # fmt: skip
def test_a_duration_is_read_in_all_its_forms(text: str, seconds: float | None) -> None:
    reset = _duration(text)
    assert (reset.s if reset else None) == pytest.approx(seconds)


def test_openais_rates_are_per_minute() -> None:
    headers = openai("requests", 500, 499, "120ms") | openai("tokens", 30_000, 29_000, "2s")
    assert seen_rates(headers) == SeenRates(500, 30_000)
    assert seen_rates(httpx.Headers({name.upper(): value for name, value in headers.items()})).rpm == 500


def test_groqs_requests_are_per_day_and_its_tokens_per_minute() -> None:
    headers = openai("requests", 14_400, 14_370, "2m59.56s") | openai("tokens", 6_000, 5_234, "7.66s")
    assert seen_rates(headers) == SeenRates(None, 6_000)


@pytest.mark.parametrize(
    ("limit", "left", "reset", "rpm"),
    [
        (60, 59, "1s", 60),
        (1_000_000, 999_999, "1ms", 1_000_000),  # rounded up from 0.06 ms
        (300, 299, "1", 300),  # Azure's plain seconds, rounded up from 0.2
        (300, 0, "60", 300),
        (100, 0, "119s", 100),
        (100, 0, "2m1s", None),
        (1_000, 999, "1m26.4s", None),
        (1_000, 0, "24h0m0s", None),
        (60, 60, "0s", 60),
        (60, 60, "60s", 60),
        (60, 60, "61s", None),  # untouched, and full again in more than a minute
        (60, None, "30s", 60),
        (60, 70, "30s", 60),
        (60, 59, None, 60),  # Azure, LiteLLM: no reset is told
        (60, 59, "tomorrow", None),
        (0, 0, "1s", None),
        (-1, -1, "0", None),  # Azure: no limit
        ("many", 1, "1s", None),
        ("1e400", 1, "1s", None),
        ("nan", 1, "1s", None),
        (60, "few", "9" * 400 + "s", None),
    ],
)
def test_only_what_refills_within_two_minutes_is_a_rate_per_minute(
    limit: object, left: object, reset: object, rpm: int | None
) -> None:
    assert seen_rates(openai("requests", limit, left, reset)).rpm == rpm


def test_anthropics_resets_are_moments_by_its_own_clock() -> None:
    headers = {
        "date": "Thu, 15 Jan 2026 14:23:00 GMT",
        **anthropic("requests", 4_000, 3_999, "2026-01-15T14:23:01Z"),
        **anthropic("tokens", 400_000, 312_000, "2026-01-15T14:23:14Z"),
        **anthropic("input-tokens", 1, 1, "2026-01-15T14:23:00Z"),
    }
    seen = SeenRates(4_000, 400_000)
    assert seen_rates(headers) == seen  # whatever our own clock says
    assert seen_rates({**headers, "date": "never"}, NOW) == seen


def test_without_a_tokens_limit_anthropics_input_and_output_are_added() -> None:
    reset = "2026-01-15T14:23:03+00:00"
    both = anthropic("input-tokens", 80_000, 78_000, reset) | anthropic(
        "output-tokens", 16_000, 15_000, reset
    )
    assert seen_rates(both, NOW) == SeenRates(None, 96_000)
    assert seen_rates(anthropic("input-tokens", 80_000, 78_000, reset), NOW).tpm is None


def test_anthropics_limit_of_a_week_is_no_rate() -> None:
    assert seen_rates(anthropic("requests", 900, 800, "2026-01-20T00:00:00Z"), NOW).rpm is None


@pytest.mark.parametrize("moment", ["soon", "2026-99-01T00:00:00Z", "", "2026-01-15T14:23:05"])
def test_rubbish_is_never_an_error(moment: str) -> None:
    headers = anthropic("requests", "x", "y", moment) | anthropic("tokens", 10, "", moment)
    assert seen_rates({**headers, "date": "0"}, NOW).rpm is None
    assert seen_rates({}) == SeenRates()


def test_the_headers_as_they_came_are_enough() -> None:
    raw = [(b"Date", b"Thu"), (b"X-RateLimit-Limit-Requests", b"60"), (b"Set-Cookie", b"\xff"), (b"x", b"1")]
    assert rate_headers(raw) == {"date": "Thu", "x-ratelimit-limit-requests": "60"}
    assert seen_rates(rate_headers(raw)).rpm == 60
