"""The clients that SDKs are handed: the worker's connections, whoever closes what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeAlias

import httpx
import pytest

from promptmill.simulator import SimulatorConfig
from promptmill.simulator.app import serve
from worker.calls.transport import open_http_client
from worker.sdks import http_client, lend

httpx2 = pytest.importorskip("httpx2")

from worker.sdks.sdk_httpx2 import httpx2_client  # noqa: E402

ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
KEY = {"authorization": "Bearer k"}
BOTH = pytest.mark.parametrize(("make", "library"), [(http_client, httpx), (httpx2_client, httpx2)])

Lent: TypeAlias = tuple[httpx.AsyncClient, list[str]]


@pytest.fixture
async def provider() -> AsyncIterator[str]:
    async with serve(SimulatorConfig(latency_s=0)) as url:
        yield url


@pytest.fixture
async def lent() -> AsyncIterator[Lent]:
    """A worker's client; counts what goes over it."""
    sent = []

    async def count(request: httpx.Request) -> None:
        sent.append(str(request.url))

    async with open_http_client(max_connections=5, connect_timeout_s=5, read_timeout_s=5) as http:
        http.event_hooks["request"] = [count]
        yield http, sent


async def in_a_job(http: httpx.AsyncClient, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Runs it in a task that was started after the worker has lent its connections."""

    async def worker() -> Any:
        lend(http)
        return await asyncio.create_task(work())

    return await asyncio.create_task(worker())


@BOTH
async def test_calls_go_over_the_connections_of_the_worker(
    provider: str, lent: Lent, make: Callable[[], Any], library: Any
) -> None:
    http, sent = lent
    client = make()

    async def work() -> Any:
        answer = await client.post(f"{provider}/v1/chat/completions", json=ASKED, headers=KEY)
        async with client.stream(
            "POST", f"{provider}/v1/chat/completions", json={**ASKED, "stream": True}, headers=KEY
        ) as stream:
            lines = [line async for line in stream.aiter_lines()]
        return answer, lines

    answer, lines = await in_a_job(http, work)
    assert isinstance(answer, library.Response)
    assert answer.json()["choices"][0]["message"]["content"].startswith("Simulated answer to: Hi")
    assert "data: [DONE]" in lines
    assert len(sent) == 2


@BOTH
async def test_closing_an_sdks_client_closes_neither_it_nor_the_workers(
    provider: str, lent: Lent, make: Callable[[], Any], library: Any
) -> None:
    http, sent = lent
    client = make()

    async def work() -> Any:
        for _ in range(2):
            async with client:
                await client.get(f"{provider}/v1/models", headers=KEY)
            await client.aclose()

    await in_a_job(http, work)
    assert (len(sent), client.is_closed, http.is_closed) == (2, False, False)


@BOTH
async def test_outside_of_a_worker_it_has_connections_of_its_own(
    provider: str, make: Callable[[], Any], library: Any
) -> None:
    client = make()
    async with client:
        assert (await client.get(f"{provider}/v1/models", headers=KEY)).status_code == 200
    assert client._transport._own is None  # closed


@BOTH
async def test_failures_are_of_the_library_that_the_sdk_knows(make: Callable[[], Any], library: Any) -> None:
    async with make() as client:
        with pytest.raises(library.ConnectError):
            await client.get("http://127.0.0.1:1")


@BOTH
async def test_a_file_is_sent_while_it_is_read(
    provider: str, lent: Lent, make: Callable[[], Any], library: Any
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b'{"model": "gpt-4o", '
        yield b'"messages": [{"role": "user", "content": "Hi"}]}'

    async def work() -> Any:
        return await client.post(f"{provider}/v1/chat/completions", content=parts(), headers=KEY)

    client = make()
    assert (await in_a_job(lent[0], work)).status_code == 200
