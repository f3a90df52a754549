"""The simulator's caps: calls at once, requests and tokens a minute."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest
from aiohttp import ClientSession

from promptmill.simulator import SimulatorConfig, serve
from promptmill.simulator.admission import Admission, Bucket, RateLimit
from promptmill.simulator.openai import format_duration
from tests.conftest import wait_until

OPENAI = {"Authorization": "Bearer sk-test"}
ANTHROPIC = {"x-api-key": "sk-test", "anthropic-version": "2023-06-01"}
BODY = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def call(session: ClientSession, path: str = "/v1/chat/completions") -> Any:
    headers = ANTHROPIC if path == "/v1/messages" else OPENAI
    async with session.post(path, json=BODY, headers=headers) as response:
        return response.status, response.headers, await response.json()


async def stats(session: ClientSession) -> Any:
    async with session.get("/stats") as response:
        return await response.json()


async def test_a_call_over_the_concurrency_cap_is_refused_with_retry_after() -> None:
    config = SimulatorConfig(fault_hang=1, max_concurrency=2)
    async with serve(config) as url, ClientSession(url) as session:
        held = [asyncio.create_task(call(session)) for _ in range(2)]

        async def both_open() -> bool:
            return bool((await stats(session))["open"] == 2)

        await wait_until(both_open, description="two calls are open")
        status, headers, body = await call(session)
        assert status == 429
        assert headers["retry-after"] == "1"
        assert body["error"]["code"] == "rate_limit_exceeded"
        status, headers, body = await call(session, "/v1/messages")
        assert status == 429
        assert headers["retry-after"] == "1"
        assert body["error"]["type"] == "rate_limit_error"
        counts = await stats(session)
        assert (counts["refused_429"], counts["peak_open"], counts["requests"]) == (2, 2, 4)
        for each in held:
            each.cancel()
        await asyncio.gather(*held, return_exceptions=True)

        async def none_open() -> bool:
            return bool((await stats(session))["open"] == 0)

        await wait_until(none_open, description="places are given back by those who hang up")


async def test_a_call_over_the_requests_cap_says_so_in_openais_words() -> None:
    config = SimulatorConfig(latency_s=0, rpm=2)
    async with serve(config) as url, ClientSession(url) as session:
        status, headers, _ = await call(session)
        assert status == 200
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == "1"
        assert headers["x-ratelimit-reset-requests"] in ("30s", "29.999s", "29.998s")
        assert "x-ratelimit-limit-tokens" not in headers
        await call(session)
        status, headers, body = await call(session)
    assert status == 429
    assert headers["retry-after"] == "30"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert body["error"]["type"] == "requests"
    assert "on requests per min (RPM): Limit 2, Used 2, Requested 1" in body["error"]["message"]


async def test_a_call_over_the_tokens_cap_is_refused_and_takes_no_request() -> None:
    config = SimulatorConfig(latency_s=0, rpm=10, tpm=60)
    async with serve(config) as url, ClientSession(url) as session:
        assert (await call(session))[0] == 200
        status, headers, body = await call(session)
    assert status == 429
    assert body["error"]["type"] == "tokens"
    assert "on tokens per min (TPM): Limit 60" in body["error"]["message"]
    assert headers["x-ratelimit-remaining-tokens"] == "18"
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert 20 <= int(headers["retry-after"]) <= 24


async def test_a_call_larger_than_the_tokens_cap_is_told_not_to_wait() -> None:
    async with serve(SimulatorConfig(tpm=20)) as url, ClientSession(url) as session:
        status, headers, body = await call(session)
    assert status == 429
    assert "retry-after" not in headers
    assert body["error"]["message"].startswith("Request too large for m")


async def test_anthropics_limit_headers_tell_a_time() -> None:
    config = SimulatorConfig(latency_s=0, rpm=1, tpm=1000)
    async with serve(config) as url, ClientSession(url) as session:
        _, headers, _ = await call(session, "/v1/messages")
        status, refused, body = await call(session, "/v1/messages")
    assert headers["anthropic-ratelimit-requests-limit"] == "1"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert headers["anthropic-ratelimit-tokens-remaining"] == "958"
    assert datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"]).tzinfo
    assert status == 429
    assert refused["retry-after"] == "60"
    assert "1 requests per minute" in body["error"]["message"]


def test_a_bucket_refills_evenly_and_never_over_its_cap() -> None:
    clock = Clock()
    bucket = Bucket(60, clock)
    bucket.take(60)
    assert bucket.wait_s(1) == pytest.approx(1, abs=1e-3)
    clock.now_s += 1
    assert bucket.wait_s(1) == 0
    assert bucket.allowance().remaining == 1
    clock.now_s += 3600
    assert bucket.allowance().remaining == 60
    assert bucket.allowance().reset_s == 0


def test_a_changed_cap_starts_full_and_the_others_go_on() -> None:
    admission = Admission(SimulatorConfig(rpm=5, tpm=100), Clock())
    assert admission.admit(tokens=40, open_calls=0) is None
    admission.configure(SimulatorConfig(rpm=9, tpm=100))
    allowances = admission.allowances()
    assert allowances[RateLimit.REQUESTS].remaining == 9
    assert allowances[RateLimit.TOKENS].remaining == 60


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.02, "20ms"),
        (1, "1s"),
        (8.64, "8.64s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (3605, "1h0m5s"),
    ],
)
def test_durations_are_written_like_openais(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
