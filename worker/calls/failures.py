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
from promptmill.dialects import Route

from .connector import never_connected
from .transport import BodyTooLarge, NotUnpackable

# all that httpx raises; TimeoutError is the deadline of `asyncio.timeout`
FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError, TimeoutError)

# by these no request has gone out, and so nothing was used and nothing will be paid for
_NOT_SENT = (
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ConnectError,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)

# the next try would bring the same
_FINAL = (BodyTooLarge, NotUnpackable)

_CHECK_ADDRESS = "Check its base URL, the network and the proxy."

# what is raised, what stands for it, what happened, and the next step
_TRANSLATIONS: tuple[tuple[tuple[type[BaseException], ...], type[JobError], str, str], ...] = (
    (
        (httpx.ConnectTimeout, httpx.PoolTimeout),
        ProviderTimeout,
        "did not take the connection in time",
        _CHECK_ADDRESS,
    ),
    (
        (TimeoutError,),
        ProviderTimeout,
        "did not answer within {timeout_s:g} s",
        "Give a long answer more time (timeout_s), or see the provider's status page.",
    ),
    ((httpx.TimeoutException,), ProviderTimeout, "stopped answering", "See the provider's status page."),
    (
        (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL),
        ProviderNotConfigured,
        "cannot be called",
        "Check its base URL, its key and the proxy.",
    ),
    (
        (httpx.ProxyError,),
        ProviderUnreachable,
        "cannot be reached through the proxy",
        "Check HTTPS_PROXY and NO_PROXY.",
    ),
    ((httpx.ConnectError,), ProviderUnreachable, "cannot be reached", _CHECK_ADDRESS),
    (
        (httpx.TransportError,),
        ProviderUnreachable,
        "broke the connection",
        "See the provider's status page, and the proxy's limits of time and size.",
    ),
    (
        (BodyTooLarge,),
        MalformedResponse,
        "answered too much",
        "Ask for less, or raise MAX_ANSWER_MB where the answer should be so large.",
    ),
    (
        (httpx.DecodingError,),
        MalformedResponse,
        "answered what cannot be unpacked",
        "See the proxies in between.",
    ),
    (FOREIGN, MalformedResponse, "answered what cannot be read", "Check its base URL."),
)


def translate(error: BaseException, route: Route, timeout_s: float) -> JobError:
    """The error that stands for one of FOREIGN, with the foreign words in it, free of secrets.

    `details["sent"]` is False where no request went out. Raise the error `from None`: the original's words
    have not been redacted and would reach the log.
    """
    if never_connected(error):
        error = httpx.ConnectTimeout(f"none within {timeout_s:g} s")
    kind, happened, step = next(row[1:] for row in _TRANSLATIONS if isinstance(error, row[0]))
    said = " ".join(route.provider.redact(str(error)).split())[:300].rstrip(".")
    sentence = f"{route} {happened.format(timeout_s=timeout_s)}"
    return kind(
        f"{sentence}: {said}. {step}" if said else f"{sentence}. {step}",
        provider=route.provider.name,
        model=route.model,
        sent=False if isinstance(error, _NOT_SENT) else None,
        final=isinstance(error, _FINAL) or None,
    )
