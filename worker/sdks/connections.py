"""HTTP clients over the worker's own connections: `AsyncOpenAI(http_client=http_client(), max_retries=0)`."""

from __future__ import annotations

from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Self

import httpx

from worker.calls.transport import open_http_client

OWN_CONNECTIONS = 1_000  # where no worker lends any; an SDK's own default
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 300.0

# what the jobs of this worker are lent; their tasks inherit the context that its start was in
_lent: ContextVar[httpx.AsyncClient | None] = ContextVar("promptmill_http", default=None)


def lend(http: httpx.AsyncClient) -> None:
    """Lends `http` to all tasks that start from here. Whoever lends it closes it."""
    _lent.set(http)


def http_client(
    *, connect_timeout_s: float = CONNECT_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S
) -> httpx.AsyncClient:
    """A client for SDKs built on httpx, over the connections of the worker in whose jobs it is used.

    Make it anywhere, once, such as where a module makes its SDK's client; it opens nothing. Closing it, or an
    SDK that was given it, leaves the worker's connections open, and it can still be used. Used outside of
    a worker, it has connections of its own, which `aclose()` closes.
    """
    timeout = httpx.Timeout(**timeouts(connect_timeout_s, read_timeout_s))
    return _Client(timeout=timeout, transport=_Transport(), **client_options())


def timeouts(connect_s: float, read_s: float) -> dict[str, float | None]:
    """A free connection is waited for without an end, as the worker's own calls do."""
    return {"connect": connect_s, "read": read_s, "write": read_s, "pool": None}


def client_options() -> dict[str, Any]:
    """What the clients of httpx and of httpx2 have in common. Redirects are followed, as the SDKs' own do."""
    return {
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
        "headers": {"user-agent": "promptmill"},
        "follow_redirects": True,
    }


class Connections:
    """Those of the worker; elsewhere, some of its own."""

    def __init__(self) -> None:
        self._own: httpx.AsyncClient | None = None

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The answer, its body not yet read."""
        return await (_lent.get() or self._opened()).send(
            request, stream=True, auth=None, follow_redirects=False
        )

    async def aclose(self) -> None:
        """Closes its own."""
        own, self._own = self._own, None
        if own is not None:
            await own.aclose()

    def _opened(self) -> httpx.AsyncClient:
        if self._own is None:
            self._own = open_http_client(
                max_connections=OWN_CONNECTIONS,
                connect_timeout_s=CONNECT_TIMEOUT_S,
                read_timeout_s=READ_TIMEOUT_S,
            )
        return self._own


class StaysOpen:
    """What both clients have in common: closing one closes no more than connections of its own."""

    _transport: Any

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Client(StaysOpen, httpx.AsyncClient): ...


class _Transport(Connections, httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.send(request)
