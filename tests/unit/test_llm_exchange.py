"""A plain call takes a shorter way than `client.send`, and gets the same answer."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from aiohttp import web

from tests.conftest import forever
from tests.unit.given_http import client, no_proxy_but_the_tests_own, serving
from worker.calls import transport

__all__ = ["client", "no_proxy_but_the_tests_own"]


@pytest.mark.parametrize("user", ["", "me:pass word@"])
async def test_an_exchange_is_answered_as_the_client_is(client: httpx.AsyncClient, user: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        told = [request.headers.get("authorization"), await request.text(), "x" * 2_000]
        reply = web.json_response(told, status=429, headers={"retry-after": "7"})
        reply.enable_compression(web.ContentCoding.gzip)
        return reply

    async with serving(answer) as url:
        address = url.replace("//", f"//{user}")
        requests = [
            httpx.Request("POST", address, headers=dict(client.headers), content=b"{}") for _ in range(2)
        ]
        expected = await client.send(requests[0])
        reply, body = await transport.exchange(client, requests[1], 10_000)
    assert json.loads(body) == expected.json()
    assert bool(json.loads(body)[0]) == bool(user)
    assert (reply.status_code, reply.headers["retry-after"], reply.is_closed) == (429, "7", True)


async def test_an_exchange_that_is_cancelled_closes_its_connection(client: httpx.AsyncClient) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        begun.set()
        try:
            await forever()
        finally:
            closed.set()

    async with serving(answer) as url:
        exchange = asyncio.create_task(
            transport.exchange(client, httpx.Request("POST", url, content=b"{}"), 10_000)
        )
        await begun.wait()
        exchange.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange
        await asyncio.wait_for(closed.wait(), 5)
