"""Nobody outside transport.py may notice that the connections are aiohttp's."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

import httpx
import pytest
import trustme
from aiohttp import web

from tests.conftest import forever
from tests.unit.given_http import answering, client, no_proxy_but_the_tests_own, serving
from worker.calls import transport

__all__ = ["client", "no_proxy_but_the_tests_own"]


def peer_of(request: web.Request) -> object:
    assert request.transport is not None
    return request.transport.get_extra_info("peername")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"garbage\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", httpx.DecodingError),
    ],
    ids=["hangs up", "garbage", "half a body", "bad chunk", "half a chunk", "not gzip"],
)
@pytest.mark.parametrize("send", [httpx.AsyncClient.send, partial(transport.exchange, max_bytes=10_000)])
async def test_a_broken_answer_is_an_httpx_exception(
    client: httpx.AsyncClient,
    send: Callable[..., Awaitable[httpx.Response]],
    raw: bytes,
    expected: type[Exception],
) -> None:
    async with answering(raw) as url:
        with pytest.raises(expected):
            await send(client, httpx.Request("POST", url, content=b"{}"))


async def test_a_refused_connection_is_a_connect_error(client: httpx.AsyncClient) -> None:
    async with answering(b"") as url:
        pass
    with pytest.raises(httpx.ConnectError):
        await client.post(url, content=b"{}")


async def test_a_certificate_nobody_vouches_for_is_a_connect_error(client: httpx.AsyncClient) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", content=b"{}")


async def test_a_silent_server_is_a_read_timeout(client: httpx.AsyncClient) -> None:
    async def sleep(request: web.Request) -> web.StreamResponse:
        await forever()

    async with serving(sleep) as url:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(url, content=b"{}", timeout=httpx.Timeout(None, read=0.02))


@pytest.mark.parametrize("header", ["a\nb", "a\x00b"])
async def test_a_header_that_cannot_be_sent_is_a_local_protocol_error(
    client: httpx.AsyncClient, header: str
) -> None:
    async with answering(b"") as url:
        with pytest.raises(httpx.LocalProtocolError) as raised:
            await client.post(url, content=b"{}", headers={"x": header})
    assert header not in str(raised.value)


async def test_a_cancelled_call_closes_its_connection_and_leaves_the_pool_usable(
    client: httpx.AsyncClient,
) -> None:
    begun, cancelled, peers = asyncio.Event(), asyncio.Event(), []

    async def hang_once(request: web.Request) -> web.StreamResponse:
        peers.append(peer_of(request))
        if len(peers) > 1:
            return web.Response(text="fine")
        begun.set()
        try:
            await forever()
        finally:
            cancelled.set()

    async with serving(hang_once) as url:
        call = asyncio.create_task(client.post(url, content=b"{}"))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(cancelled.wait(), 2)  # the provider sees that nobody listens
        for _ in range(2):
            assert (await client.post(url, content=b"{}")).text == "fine"
    assert peers[0] != peers[1] == peers[2]


async def test_a_call_cancelled_in_the_middle_of_the_body_closes_its_connection(
    client: httpx.AsyncClient,
) -> None:
    begun, peers = asyncio.Event(), []

    async def drip(request: web.Request) -> web.StreamResponse:
        peers.append(peer_of(request))
        if len(peers) > 1:
            return web.Response(text="fine")
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"some")
        begun.set()
        return await forever()

    async with serving(drip) as url:
        call = asyncio.create_task(client.post(url, content=b"{}"))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await client.post(url, content=b"{}")).text == "fine"
    assert peers[0] != peers[1]


async def test_cookies_are_forgotten_and_redirects_not_followed(client: httpx.AsyncClient) -> None:
    seen = []

    async def bake(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("cookie"))
        return web.Response(status=307, headers={"location": "/elsewhere", "set-cookie": "who=me; Path=/"})

    async with serving(bake) as url:
        for _ in range(2):
            assert (await client.post(url, content=b"{}")).status_code == 307
    assert seen == [None, None]


async def test_connections_are_reused_and_never_more_than_allowed(client: httpx.AsyncClient) -> None:
    peers, at_once, most = set(), 0, 0

    async def count(request: web.Request) -> web.StreamResponse:
        nonlocal at_once, most
        peers.add(peer_of(request))
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return web.Response(text="fine")

    async with serving(count) as url:
        await asyncio.gather(*(client.post(url, content=b"{}") for _ in range(50)))
    assert len(peers) <= 10
    assert most <= 10


async def test_long_headers_are_accepted(client: httpx.AsyncClient) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(headers={"content-security-policy": "x" * 20_000})

    async with serving(answer) as url:
        assert (await client.post(url, content=b"{}")).status_code == 200


async def test_credentials_in_the_url_become_a_header(client: httpx.AsyncClient) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(text=request.headers["authorization"])

    async with serving(echo) as url:
        answer = await client.post(url.replace("//", "//me:secret@"), content=b"{}")
    assert answer.text == "Basic bWU6c2VjcmV0"


@pytest.mark.parametrize("user", ["", "me:secret@"])
async def test_environment_proxies_are_used_and_no_proxy_is_honoured(
    monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    async def proxy(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"{request.raw_path} {request.headers.get('proxy-authorization')}")

    async with serving(proxy) as proxy_url, serving(proxy) as direct_url:
        monkeypatch.setenv("HTTP_PROXY", proxy_url.replace("//", f"//{user}"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with transport.open_http_client(
            max_connections=1, connect_timeout_s=5, read_timeout_s=5
        ) as client:
            proxied = await client.post("http://provider.test/v1", content=b"{}")
            direct = await client.post(f"{direct_url}/v1", content=b"{}")
    assert proxied.text == f"http://provider.test/v1 {'Basic bWU6c2VjcmV0' if user else None}"
    assert direct.text == "/v1 None"


@pytest.mark.parametrize(
    "spared",
    [
        "",
        "*",
        "a.test, *",
        "localhost,.a.test , b.test",
        "10.0.0.1,10.0.0.0/8,::1,fe80::/10",
        "https://c.test,LOCALHOST",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https", "all"])
def test_the_environments_proxies_are_those_of_httpx(
    monkeypatch: pytest.MonkeyPatch, scheme: str, spared: str
) -> None:
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", "proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", spared)
    assert transport._environment_proxies() == httpx._utils.get_environment_proxies()


async def test_a_tunnel_through_a_proxy_carries_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with (
        server,
        transport.open_http_client(max_connections=1, connect_timeout_s=5, read_timeout_s=5) as client,
    ):
        with pytest.raises(httpx.ProxyError) as raised:
            await client.post("https://provider.test/v1", content=b"{}")
    assert b"CONNECT provider.test:443" in await seen
    assert b"proxy-authorization: Basic bWU6c2VjcmV0" in await seen
    assert "secret" not in str(raised.value)


async def test_a_kind_of_proxy_that_aiohttp_cannot_speak_to_is_an_httpx_exception(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://me:secret@127.0.0.1:9")
    async with transport.open_http_client(max_connections=1, connect_timeout_s=5, read_timeout_s=5) as client:
        with pytest.raises(httpx.HTTPError) as raised:
            await client.post("http://provider.test/v1", content=b"{}")
    assert "secret" not in str(raised.value)


async def test_a_proxy_that_is_down_is_a_proxy_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(b"") as url:
        pass
    monkeypatch.setenv("ALL_PROXY", url)
    monkeypatch.setenv("NO_PROXY", "")
    async with transport.open_http_client(max_connections=1, connect_timeout_s=5, read_timeout_s=5) as client:
        with pytest.raises(httpx.ProxyError):
            await client.post("http://provider.test/v1", content=b"{}")
