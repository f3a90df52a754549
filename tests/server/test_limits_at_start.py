"""What a worker does about limits when it starts."""

from __future__ import annotations

import logging

import pytest

from client import Limit, Queue
from settings import Settings
from tests.conftest import KEYS, AnyRedis, Server
from worker.app import worker_settings


async def test_a_worker_that_starts_puts_its_limits_in_force_and_says_so(
    queue: Queue, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    text = "openai/gpt-4o concurrency=50, tenant:* concurrency=5"
    settings = Settings(_env_file=None, redis_url=server.url, limits=text, default_model="OpenAI/gpt-4o")
    with caplog.at_level(logging.INFO, logger="arq.worker"):
        await start(queue, settings)
    listed = {state.key: state.limit for state in await queue.limits.list()}
    assert listed == {"openai/gpt-4o": Limit(concurrency=50), "tenant:*": Limit(concurrency=5)}
    assert "limit of openai/gpt-4o: concurrency=50" in caplog.text
    redis: AnyRedis = queue.session.redis
    assert (await redis.hgetall(KEYS.aliases))[b"@chat"] == b"openai/gpt-4o"

    await queue.limits.pause("tenant:*")
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="arq.worker"):
        await start(queue, settings)
        await start(queue, settings.model_copy(update={"limits": "tenant:* concurrency=5"}))
    assert [state.key for state in await queue.limits.list() if state.paused] == ["tenant:*"]
    assert caplog.text.count("limit of ") == 1
    assert "limit of openai/gpt-4o: taken away" in caplog.text


async def start(queue: Queue, settings: Settings) -> None:
    made = vars(worker_settings(settings))
    ctx = {"redis": queue.session.redis}
    await made["on_startup"](ctx)
    await made["on_shutdown"](ctx)
