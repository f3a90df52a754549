"""What is learned of a model is written to Redis: seldom, and never at an answer's cost."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import fakeredis
import pytest
from redis.exceptions import ConnectionError as RedisDown

from client.wire.keys import KEYS
from promptmill.dialects import Route
from promptmill.dialects.openai import OpenAI
from promptmill.dialects.rates import SeenRates
from tests.conftest import AnyRedis
from worker.calls import read_prices
from worker.jobs.learn import Learner, fields

ROUTE = Route(OpenAI("local", "http://localhost/v1", None, "KEY"), "no-such-model")
KEY = KEYS.flow("local/no-such-model")

Learned: TypeAlias = Callable[..., Awaitable[dict[str, str]]]


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def redis() -> AsyncIterator[AnyRedis]:
    async with fakeredis.FakeAsyncRedis(decode_responses=True) as redis:
        yield redis


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def learned(redis: AnyRedis, clock: Clock) -> AsyncIterator[Learned]:
    """What Redis holds after an answer with these rates."""
    learner = Learner(redis, {}, clock)

    async def learned(*rates: int | None) -> dict[str, str]:
        learner.observe(ROUTE, SeenRates(*rates))
        while learner._writes:
            await next(iter(learner._writes))
        found: dict[str, str] = await redis.hgetall(KEY)
        return found

    yield learned
    await learner.close()


async def test_rates_and_price_are_written_at_the_first_answer(learned: Learned, redis: AnyRedis) -> None:
    expected = {"rpm_seen": "500", "tpm_seen": "30000", "in_usd": "0", "out_usd": "0", "unpriced": "1"}
    assert await learned(500, 30_000) == expected
    assert 29 * 86_400 < await redis.ttl(KEY) <= 30 * 86_400


async def test_a_change_is_written_after_five_seconds_and_the_same_after_sixty(
    learned: Learned, redis: AnyRedis, clock: Clock
) -> None:
    await learned(500)
    clock.now_s += 4.9
    assert (await learned(600))["rpm_seen"] == "500"
    clock.now_s += 0.2
    assert (await learned(600))["rpm_seen"] == "600"
    await redis.delete(KEY)
    clock.now_s += 59
    assert await learned(600, None) == {}
    clock.now_s += 2
    assert (await learned(600))["rpm_seen"] == "600"


async def test_what_is_not_told_this_time_stays_as_it_was(learned: Learned, clock: Clock) -> None:
    await learned(500, 9_000)
    clock.now_s += 100
    assert (await learned())["tpm_seen"] == "9000"


async def test_a_redis_that_is_away_is_a_debug_line_and_is_tried_again_soon(
    learned: Learned,
    redis: AnyRedis,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "promptmill.learn")
    with monkeypatch.context() as patch:
        patch.setattr(redis, "evalsha", lambda *_: (_ for _ in ()).throw(RedisDown("away")))
        assert await learned(500) == {}
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert "away" in record.getMessage()
    clock.now_s += 5
    assert (await learned(500))["rpm_seen"] == "500"


async def test_models_that_callers_make_up_do_not_fill_the_memory(redis: AnyRedis) -> None:
    learner = Learner(redis, {})
    for number in range(1_100):
        learner._of(str(number))
    assert len(learner._known) == 1_024
    assert "1099" in learner._known


def test_prices_are_decimal_text() -> None:
    assert fields(None, None, (0.0000025, 1e-8)) == {
        "in_usd": "0.0000025", "out_usd": "0.00000001", "unpriced": "0",
    }  # fmt: skip


async def test_a_price_of_ones_own_is_written(redis: AnyRedis, tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('["local/no-such-model"]\ninput_usd_per_mtok = 2.5\noutput_usd_per_mtok = 10\n')
    learner = Learner(redis, read_prices(str(file)))
    learner.observe(ROUTE, SeenRates())
    await next(iter(learner._writes))
    assert await redis.hgetall(KEY) == {"in_usd": "0.0000025", "out_usd": "0.00001", "unpriced": "0"}
