"""aiohttp's exceptions → httpx's: none slips through."""

from __future__ import annotations

import inspect
import ssl

import aiohttp
import httpx
import pytest
from aiohttp import client_exceptions, http_exceptions

from worker.calls import transport

FOREIGN = [
    kind
    for module in (client_exceptions, http_exceptions)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, Exception)
    and kind.__module__.startswith("aiohttp.")
    # raised by web sockets, which we do not open
    and kind not in (aiohttp.WSServerHandshakeError, aiohttp.WSMessageTypeError)
]

EXPECTED = {
    aiohttp.ServerDisconnectedError: httpx.RemoteProtocolError,
    aiohttp.ClientOSError: httpx.ReadError,
    aiohttp.ClientConnectionResetError: httpx.WriteError,
    aiohttp.ClientConnectorError: httpx.ConnectError,
    aiohttp.ClientConnectorDNSError: httpx.ConnectError,
    aiohttp.ClientConnectorCertificateError: httpx.ConnectError,
    aiohttp.ClientProxyConnectionError: httpx.ProxyError,
    aiohttp.ClientHttpProxyError: httpx.ProxyError,
    aiohttp.ConnectionTimeoutError: httpx.ConnectTimeout,
    aiohttp.SocketTimeoutError: httpx.ReadTimeout,
    aiohttp.ServerTimeoutError: httpx.ReadTimeout,
    aiohttp.ClientPayloadError: httpx.RemoteProtocolError,
    aiohttp.ClientResponseError: httpx.RemoteProtocolError,
    aiohttp.InvalidURL: httpx.InvalidURL,
    aiohttp.NonHttpUrlClientError: httpx.UnsupportedProtocol,
    http_exceptions.TransferEncodingError: httpx.RemoteProtocolError,
    TimeoutError: httpx.ReadTimeout,
    ConnectionResetError: httpx.ReadError,
    ssl.SSLError: httpx.ReadError,
    ValueError: httpx.LocalProtocolError,
}


def bare(kind: type[Exception]) -> Exception:
    """An instance without the constructor's arguments; only its class is judged."""

    made = type("Bare", (kind,), {"__init__": Exception.__init__, "__str__": lambda _: "boom"})()
    assert isinstance(made, kind)
    return made


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__name__)
def test_every_exception_of_aiohttp_has_a_translation(kind: type[Exception]) -> None:
    translated = transport.translate(bare(kind))
    assert isinstance(translated, httpx.HTTPError | httpx.InvalidURL)
    assert str(translated) == "boom"


@pytest.mark.parametrize(("kind", "expected"), EXPECTED.items(), ids=lambda kind: kind.__name__)
def test_the_translation_is_what_httpx_itself_would_raise(
    kind: type[Exception], expected: type[Exception]
) -> None:
    assert type(transport.translate(bare(kind))) is expected


def test_a_mistake_of_our_own_is_not_translated() -> None:
    assert transport.translate(TypeError("ours")) is None
