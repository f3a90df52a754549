"""The same for SDKs that are built on httpx2, its successor, and take no other: the only file that knows it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import httpx2

from .connections import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Connections, StaysOpen, client_options, timeouts


def httpx2_client(
    *, connect_timeout_s: float = CONNECT_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S
) -> httpx2.AsyncClient:
    """As `http_client`, for SDKs built on httpx2. Its failures are httpx2's."""
    timeout = httpx2.Timeout(**timeouts(connect_timeout_s, read_timeout_s))
    return _Client(timeout=timeout, transport=_Transport(), **client_options())


class _Client(StaysOpen, httpx2.AsyncClient): ...


class _Transport(Connections, httpx2.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        with _translated():
            response = await self.send(_request(request))
        return httpx2.Response(
            response.status_code,
            headers=response.headers.raw,
            stream=_Answer(response),
            request=request,
            extensions={"http_version": b"HTTP/1.1"},
        )


class _Answer(httpx2.AsyncByteStream):
    """The body as it came; httpx2 decodes it."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for part in self._response.aiter_raw():
                yield part

    async def aclose(self) -> None:
        with _translated():
            await self._response.aclose()


class _Upload(httpx.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part


def _request(request: httpx2.Request) -> httpx.Request:
    head = request.method, str(request.url)
    headers, extensions = request.headers.raw, request.extensions
    try:
        return httpx.Request(*head, headers=headers, content=request.content, extensions=extensions)
    except httpx2.RequestNotRead:  # a file that is sent while it is read
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        return httpx.Request(*head, headers=headers, stream=_Upload(request.stream), extensions=extensions)


@contextmanager
def _translated() -> Iterator[None]:
    """httpx's failures as those of the same name."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        kind = getattr(httpx2, type(error).__name__, httpx2.TransportError)
        raise kind(str(error)) from error
