"""The only file that knows how HTTP is carried: httpx over aiohttp's connection pool.

httpx's own pool is O(n²) in idle connections; aiohttp's is not. Callers see an ordinary
`httpx.AsyncClient` and httpx exceptions only. httpx-aiohttp translates a few of aiohttp's and some of
them wrongly (a server that hangs up becomes a ConnectTimeout), so `translate` decides again here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from functools import partial
from ipaddress import ip_address
from urllib.request import getproxies

import aiohttp
import httpx
from aiohttp import http_exceptions
from httpx_aiohttp import AiohttpTransport

from . import inflate
from .connector import Connector

# seconds; below the 5 s after which uvicorn and Node hang up, so that a POST never meets a closed socket
KEEPALIVE_S = 4.5
DNS_CACHE_S = 60  # seconds an address is remembered
MAX_HEADER_BYTES = 65_536  # a header line; aiohttp's own 8 KiB refuses what httpx accepts
MAX_REFUSAL_BYTES = 65_536  # of a refusal's body; what is behind that says nothing more

# The first class that matches decides, so subclasses stand before their bases.
_TRANSLATIONS: tuple[tuple[type[BaseException], type[Exception]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientProxyConnectionError, httpx.ProxyError),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError),
    (aiohttp.ClientConnectorError, httpx.ConnectError),  # DNS, refused, TLS handshake, certificate
    (aiohttp.ServerFingerprintMismatch, httpx.ConnectError),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientConnectionResetError, httpx.WriteError),  # "Cannot write to closing transport"
    (aiohttp.ClientOSError, httpx.ReadError),
    (aiohttp.ClientConnectionError, httpx.ConnectError),  # "Connector is closed"
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError),
    (aiohttp.TooManyRedirects, httpx.TooManyRedirects),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),  # a status line or header it cannot read
    (aiohttp.InvalidURL, httpx.InvalidURL),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol),
    (aiohttp.ClientError, httpx.TransportError),
    (http_exceptions.HttpProcessingError, httpx.RemoteProtocolError),  # bad chunks: raised bare by the body
    (TimeoutError, httpx.ReadTimeout),  # an OSError too: before OSError
    (OSError, httpx.ReadError),  # ConnectionResetError, ssl.SSLError after the handshake
    (asyncio.IncompleteReadError, httpx.RemoteProtocolError),
    (ValueError, httpx.LocalProtocolError),  # control characters in a header, a proxy it cannot speak to
)


def open_http_client(
    *, max_connections: int, connect_timeout_s: float, read_timeout_s: float
) -> httpx.AsyncClient:
    """One keep-alive client for the whole process, safe for any number of concurrent calls.

    It opens nothing until the first call, holds at most `max_connections` sockets (per proxy) and makes
    further calls wait. There is no limit on the total time of a call: the caller sets one. Redirects are
    not followed, cookies are not kept, HTTPS_PROXY and NO_PROXY are honoured. Cancelling a call closes
    its connection. Every failure is an httpx exception. Close it with `aclose()`.
    """
    _quieten_httpx()
    open_transport = partial(_open_transport, httpx.create_ssl_context(), max_connections)
    transport = open_transport()
    mounts = {
        pattern: open_transport(_without_auth(httpx.Proxy(url))) if url else None
        for pattern, url in _environment_proxies().items()
    }
    client = HttpxClient(
        transport=transport,
        mounts=mounts,
        timeout=httpx.Timeout(read_timeout_s, connect=connect_timeout_s, pool=None),
        headers={"user-agent": "promptmill"},
        follow_redirects=False,
    )
    client.direct = None if mounts else transport
    return client


class BodyTooLarge(httpx.StreamError):
    """A body of more bytes than we take."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"more than {max_bytes / 1_000_000:g} MB")


class NotUnpackable(httpx.DecodingError):
    """A body in a packing that nobody asked for."""


async def send(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """What `client.send(request, stream=True)` answers, for a fifth of its own CPU: without redirects, cookies and
    hooks. The body is not read yet; whoever got the response closes it.

    Headers and timeouts are the request's alone. Cancelling it closes the connection.
    """
    transport = client.direct if isinstance(client, HttpxClient) else None
    if transport is None or request.url.userinfo:  # which becomes a header there
        return await client.send(request, stream=True)
    return await transport.handle_async_request(request)


async def exchange(
    client: httpx.AsyncClient, request: httpx.Request, max_bytes: int
) -> tuple[httpx.Response, bytes]:
    """As `send`, with the body: of an answer, `max_bytes` at most; of a refusal, what `read_refusal` gives."""
    response = await send(client, request)
    try:
        if not response.is_success:
            return response, await read_refusal(response)
        pieces, size = [], 0
        async for piece in body_of(response):
            size += len(piece)
            if size > max_bytes:
                raise BodyTooLarge(max_bytes)
            pieces.append(piece)
        return response, b"".join(pieces)
    finally:
        await response.aclose()


async def read_refusal(response: httpx.Response) -> bytes:
    """The first MAX_REFUSAL_BYTES of a body; fewer where it breaks off, as the status alone says much."""
    body = bytearray()
    with contextlib.suppress(httpx.HTTPError):
        async for piece in body_of(response):
            body += piece
            if len(body) >= MAX_REFUSAL_BYTES:
                break
    return bytes(body[:MAX_REFUSAL_BYTES])


def body_of(response: httpx.Response) -> AsyncIterable[bytes]:
    """The body as it comes, unpacked, in pieces of a bounded size. Raises NotUnpackable."""
    if response.is_stream_consumed:  # a response that was made of its content
        return _Content(response.content)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    if not (encoding := response.headers.get("content-encoding")):
        return response.stream
    layers = inflate.layers(encoding)
    if layers is None:
        raise NotUnpackable(f"it is packed as {encoding[:50]}, which was not asked for")
    return inflate.unpacked(response.stream, layers)


class _Content(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


def translate(error: BaseException) -> Exception | None:
    """The httpx exception that stands for one of aiohttp's; None for what is not the network's fault."""
    for foreign, ours in _TRANSLATIONS:
        if isinstance(error, foreign):
            return ours(str(error) or type(error).__name__)
    return None


class _NoCookies(httpx.Cookies):
    """Keeps none, and does not look for any: httpx's search is 7 % of a call's CPU."""

    def extract_cookies(self, response: httpx.Response) -> None:
        pass


_NO_COOKIES = _NoCookies()


class HttpxClient(httpx.AsyncClient):
    # what carries every call; None where some go through a proxy
    direct: httpx.AsyncBaseTransport | None = None

    @property  # type: ignore[misc]  # without httpx's setter
    def cookies(self) -> httpx.Cookies:
        return _NO_COOKIES


class _Transport(AiohttpTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.userinfo:  # httpx has made it a header by now; aiohttp refuses to see both
            request.url = request.url.copy_with(userinfo=b"")
        if self.proxy and request.url.scheme == "http":  # aiohttp sends the proxy's headers to CONNECT only
            request.headers.update(self.proxy.headers)
        request.headers.encoding = "utf-8"  # unset, httpx guesses it anew at every look at a header
        with _translated():
            response = await super().handle_async_request(request)
        response.stream = _Stream(response.stream)
        return response


class _Stream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream | httpx.AsyncByteStream) -> None:
        assert isinstance(inner, httpx.AsyncByteStream)
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for chunk in self._inner:
                yield chunk

    async def aclose(self) -> None:
        with _translated():
            await self._inner.aclose()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # httpx-aiohttp chains aiohttp's exception to its own choice: judge the original
        original = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
        if isinstance(original, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError):
            raise
        translated = translate(original)
        if translated is None:
            raise
        raise translated from original


def _open_transport(
    context: ssl.SSLContext, max_connections: int, proxy: httpx.Proxy | None = None
) -> httpx.AsyncBaseTransport:
    def open_session() -> aiohttp.ClientSession:  # called in the event loop, by the first request
        connector = Connector(
            limit=max_connections,
            keepalive_timeout=KEEPALIVE_S,
            ttl_dns_cache=DNS_CACHE_S,
            ssl=context,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )

    return _Transport(verify=context, proxy=proxy, client=open_session)


def _environment_proxies() -> dict[str, str | None]:
    """URL patterns and their proxies, None for none, by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY: what httpx
    itself reads there, which it does only where the transport is its own."""
    found = getproxies()
    proxies = {
        f"{scheme}://": url if "://" in url else f"http://{url}"
        for scheme in ("http", "https", "all")
        if (url := found.get(scheme))
    }
    spared = [host.strip() for host in found.get("no", "").split(",") if host.strip()]
    return {} if "*" in spared else {**proxies, **dict.fromkeys(map(_pattern, spared))}


def _pattern(host: str) -> str:
    """As NO_PROXY has it: a name stands for all below it, too."""
    if "://" in host:
        return host
    with contextlib.suppress(ValueError):
        is_v6 = ip_address(host.partition("/")[0]).version == 6
        return f"all://[{host}]" if is_v6 else f"all://{host}"
    return f"all://{host}" if host.lower() == "localhost" else f"all://*{host}"


def _without_auth(proxy: httpx.Proxy) -> httpx.Proxy:
    """The proxy's credentials as a header: httpx-aiohttp's BasicAuth is deprecated by aiohttp."""
    if proxy.auth is None:
        return proxy
    headers = {**proxy.headers, "Proxy-Authorization": aiohttp.encode_basic_auth(*proxy.auth)}
    return httpx.Proxy(proxy.url, ssl_context=proxy.ssl_context, headers=headers)


def _quieten_httpx() -> None:
    """httpx writes a line at INFO for every call; who wants them sets the level of its logger."""
    logger = logging.getLogger("httpx")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
