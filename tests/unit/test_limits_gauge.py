"""A limit key as numbers: what it has left, and why it takes no more."""

from __future__ import annotations

from typing import Any

import pytest

from client import Limit
from client.limits.rules.gauge import DAY_MS, Gauge, refilled

NOW = 20_000 * DAY_MS + 500
TODAY: dict[str, float] = {"day": NOW // DAY_MS}


def gauge(*, in_use: int = 0, flow: dict[str, float] | None = None, **limit: Any) -> Gauge:
    return Gauge(Limit(**limit), flow or {}, in_use, NOW)


def test_a_bucket_holds_a_tenth_of_a_minute_and_refills_by_the_millisecond() -> None:
    assert refilled(None, 0, NOW, 600) == 60
    assert refilled(0, NOW - 1_000, NOW, 600) == 10
    assert refilled(-5, NOW - 1_000, NOW, 600) == 5
    assert refilled(59, NOW - 60_000, NOW, 600) == 60
    assert refilled(None, 0, NOW, 3) == 1


@pytest.mark.parametrize(
    ("ceiling", "cut", "effective"),
    [(None, None, None), (50, None, 50), (50, 12.9, 12), (50, 0.3, 1), (50, 80, 50), (None, 40.5, 40)],
)
def test_the_effective_concurrency(ceiling: int | None, cut: float | None, effective: int | None) -> None:
    assert gauge(concurrency=ceiling, flow={} if cut is None else {"eff": cut}).effective == effective


def test_the_lower_rate_counts_ours_or_the_providers() -> None:
    assert gauge(rpm=600, flow={"rpm_seen": 60, "tpm_seen": 9}).rpm == 60
    assert gauge(rpm=600, flow={"rpm_seen": 6_000}).rpm == 600
    assert gauge(flow={"tpm_seen": 9}).tpm == 9
    assert gauge().requests_left is None


def test_yesterdays_use_is_none_of_today() -> None:
    spent: dict[str, float] = {"day_tok": 5, "day_usd": 2, "usd": 9}
    assert gauge(flow=spent | TODAY).tokens_today == 5
    yesterday = gauge(flow=spent | {"day": TODAY["day"] - 1})
    assert (yesterday.tokens_today, yesterday.usd_today, yesterday.usd_total) == (0, 0, 9)


BLOCKED: list[tuple[Gauge, int, float | None, str, str]] = [
    (gauge(paused=True, concurrency=0), 0, 0, "paused", "it is paused"),
    (gauge(concurrency=0), 0, 0, "concurrency", "it is closed by concurrency=0"),
    (gauge(flow={"cool_ms": NOW + 3_210}), 0, 0, "cooldown", "it cools down for another 3.2 s"),
    (
        gauge(flow={"cool_n": 1, "cool_ms": NOW - 900, "half_ms": NOW - 800}),
        0,
        0,
        "cooldown",
        "after its cooldown, one call goes first",
    ),
    (gauge(concurrency=50, in_use=50), 0, 0, "concurrency", "50 of 50 slots are in use"),
    (
        gauge(concurrency=5_000, flow={"eff": 1_200.5}, in_use=1_300),
        0,
        0,
        "concurrency",
        "1,300 of 1,200 slots are in use",
    ),
    (
        gauge(concurrency=10, flow={"slow_ms": NOW - 500}, in_use=5),
        0,
        0,
        "concurrency",
        "5 of 5 slots are in use",
    ),
    (
        gauge(rpm=600, flow={"req": 0.5, "req_ms": NOW}),
        0,
        0,
        "requests",
        "its 600 requests a minute are used",
    ),
    (
        gauge(tpm=100_000, flow={"tok": 50, "tok_ms": NOW}),
        51,
        0,
        "tokens",
        "its 100,000 tokens a minute are used",
    ),
    (
        gauge(tpd=1_000, flow={"day_tok": 990} | TODAY),
        11,
        0,
        "budget",
        "990 of 1,000 tokens of today are used",
    ),
    (gauge(usd_total=10, flow={"usd": 9.99}), 0, 0.02, "budget", "9.99 of 10.00 USD are spent"),
    (
        gauge(usd_per_day=5, flow={"day_usd": 5} | TODAY),
        0,
        0.01,
        "budget",
        "5.00 of 5.00 USD of today are spent",
    ),
    (gauge(usd_total=10, in_use=1), 0, None, "budget", "the model's price is learned from one call first"),
]


@pytest.mark.parametrize(
    ("full", "tokens", "usd", "reason", "detail"), BLOCKED, ids=[f"{row[3]}: {row[4]}" for row in BLOCKED]
)
def test_a_full_key_says_why(full: Gauge, tokens: int, usd: float | None, reason: str, detail: str) -> None:
    assert full.blocked(tokens, usd) == (reason, detail)


@pytest.mark.parametrize(
    ("free", "tokens"),
    [
        (gauge(), 10**9),
        (gauge(concurrency=50, in_use=49), 0),
        (gauge(rpm=600, flow={"req": 0.5, "req_ms": NOW - 50}), 0),
        (gauge(tpm=100_000, flow={"tok": 10_000, "tok_ms": NOW}), 50_000),  # larger than the bucket
        (gauge(tpm=100_000, flow={"tok": 50, "tok_ms": NOW}), 50),
        (gauge(tpd=1_000, flow={"day_tok": 990} | TODAY), 10),
        (gauge(flow={"cool_n": 2, "cool_ms": NOW - 1_200, "half_ms": NOW - 1_100}), 0),
    ],
)
def test_a_key_with_room_is_not_blocked(free: Gauge, tokens: int) -> None:
    assert free.blocked(tokens) is None
