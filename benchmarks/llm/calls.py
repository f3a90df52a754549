"""One call to the provider with each HTTP client: plain, and streamed with every delta read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import httpx
from pydantic_core import from_json

from benchmarks.flow.mill import PROMPT
from worker.calls.transport import open_http_client

MODEL = "gpt-4o-mini"
KEY = "simulated"
PATIENCE_S = 600.0

Call = Callable[[], Awaitable[int]]  # returns the characters of the answer
Open = Callable[[str, int, bool], AbstractAsyncContextManager[Call]]  # base URL, calls at once, streamed

_HEADERS = {"authorization": f"Bearer {KEY}"}
_MESSAGES: list[Any] = [{"role": "user", "content": PROMPT}]
_PLAIN = {"model": MODEL, "messages": _MESSAGES}
_STREAMED = {**_PLAIN, "stream": True, "stream_options": {"include_usage": True}}


@asynccontextmanager
async def ours(base_url: str, at_once: int, streamed: bool) -> AsyncIterator[Call]:
    """httpx over httpx-aiohttp, as the worker opens it."""
    client = open_http_client(
        max_connections=at_once, connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S
    )
    async with client:
        yield partial(_httpx_stream if streamed else _httpx_plain, client, f"{base_url}/chat/completions")


@asynccontextmanager
async def httpx_pool(base_url: str, at_once: int, streamed: bool) -> AsyncIterator[Call]:
    """httpx with its own pool, which would hold no more than 100 connections by itself."""
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(timeout=None, limits=limits) as client:
        yield partial(_httpx_stream if streamed else _httpx_plain, client, f"{base_url}/chat/completions")


@asynccontextmanager
async def bare_aiohttp(base_url: str, at_once: int, streamed: bool) -> AsyncIterator[Call]:
    connector = aiohttp.TCPConnector(limit=at_once)
    patience = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(connector=connector, timeout=patience, headers=_HEADERS) as session:
        url = f"{base_url}/chat/completions"
        yield partial(_aiohttp_stream if streamed else _aiohttp_plain, session, url)


@asynccontextmanager
async def openai_sdk(base_url: str, at_once: int, streamed: bool) -> AsyncIterator[Call]:
    """AsyncOpenAI as it comes, without retries."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0, timeout=PATIENCE_S) as client:
        assert client.chat.completions  # imported when first looked at
        yield partial(_openai_stream if streamed else _openai_plain, client)


CLIENTS: dict[str, Open] = {
    "httpx-aiohttp": ours,
    "httpx": httpx_pool,
    "aiohttp": bare_aiohttp,
    "openai": openai_sdk,
}


async def _httpx_plain(client: httpx.AsyncClient, url: str) -> int:
    reply = await client.post(url, json=_PLAIN, headers=_HEADERS)
    reply.raise_for_status()
    return len(reply.json()["choices"][0]["message"]["content"])


async def _httpx_stream(client: httpx.AsyncClient, url: str) -> int:
    chars = 0
    async with client.stream("POST", url, json=_STREAMED, headers=_HEADERS) as reply:
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            if line.startswith("data: {"):
                chars += _chars(line[6:])
    return chars


async def _aiohttp_plain(session: aiohttp.ClientSession, url: str) -> int:
    async with session.post(url, json=_PLAIN) as reply:
        reply.raise_for_status()
        return len((await reply.json())["choices"][0]["message"]["content"])


async def _aiohttp_stream(session: aiohttp.ClientSession, url: str) -> int:
    chars = 0
    async with session.post(url, json=_STREAMED) as reply:
        reply.raise_for_status()
        async for line in reply.content:
            if line.startswith(b"data: {"):
                chars += _chars(line[6:])
    return chars


async def _openai_plain(client: Any) -> int:
    answer = await client.chat.completions.create(**_PLAIN)
    return len(answer.choices[0].message.content)


async def _openai_stream(client: Any) -> int:
    chars = 0
    async for chunk in await client.chat.completions.create(**_STREAMED):
        if chunk.choices:
            chars += len(chunk.choices[0].delta.content or "")
    return chars


def _chars(data: str | bytes) -> int:
    choices = from_json(data)["choices"]
    return len(choices[0]["delta"].get("content") or "") if choices else 0
