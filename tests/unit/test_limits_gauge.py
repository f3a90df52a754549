"""A limit key as numbers: what it has left."""

from __future__ import annotations

from typing import Any

import pytest

from client import Limit, LimitState
from client.limits.rules.gauge import DAY_MS, gauged, refilled

NOW = 20_000 * DAY_MS + 500
TODAY: dict[str, float] = {"day": NOW // DAY_MS}


def gauge(*, in_use: int = 0, flow: dict[str, float] | None = None, **limit: Any) -> LimitState:
    return gauged("k", Limit(**limit), "own", flow or {}, NOW, in_use=in_use, waiting=0, blocked_lanes=0)


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
