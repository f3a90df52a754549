"""httpx's exceptions → ours. The one place where they are translated."""

from __future__ import annotations

import httpx

from client.errors import (
    JobError,
    MalformedResponse,
    ProviderNotConfigured,
    ProviderTimeout,
    ProviderUnreachable,
)

from .providers import Route

# all that httpx raises; TimeoutError is the deadline of `asyncio.timeout`
FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError, TimeoutError)

# by these no request has gone out, and so nothing was used and nothing will be paid for
_NOT_SENT = (
    httpx.ConnectTimeout,
    httpx.ConnectError,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)

_TRANSLATIONS: tuple[tuple[tuple[type[BaseException], ...], type[JobError], str], ...] = (
    ((httpx.ConnectTimeout,), ProviderTimeout, "did not take the connection in time"),
    ((TimeoutError,), ProviderTimeout, "did not answer within {timeout_s:g} s"),
    ((httpx.TimeoutException,), ProviderTimeout, "stopped answering"),
    (
        (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL),
        ProviderNotConfigured,
        "cannot be called, so check its base URL, its key and the proxy",
    ),
    ((httpx.ProxyError,), ProviderUnreachable, "cannot be reached through the proxy"),
    ((httpx.ConnectError,), ProviderUnreachable, "cannot be reached"),
    ((httpx.TransportError,), ProviderUnreachable, "broke the connection"),
    (FOREIGN, MalformedResponse, "answered what cannot be read"),
)


def translate(error: BaseException, route: Route, timeout_s: float) -> JobError:
    """The error that stands for one of FOREIGN, with the foreign words in it, free of secrets.

    `details["sent"]` is False where no request went out. Raise the error `from None`: the original's words
    have not been redacted and would reach the log.
    """
    kind, happened = next(
        (kind, words) for foreign, kind, words in _TRANSLATIONS if isinstance(error, foreign)
    )
    said = " ".join(route.provider.redact(str(error)).split())[:300].rstrip(".")
    sentence = f"{route} {happened.format(timeout_s=timeout_s)}"
    return kind(
        f"{sentence}: {said}." if said else f"{sentence}.",
        provider=route.provider.name,
        model=route.model,
        sent=False if isinstance(error, _NOT_SENT) else None,
    )
