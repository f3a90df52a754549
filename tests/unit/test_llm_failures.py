"""httpx's exceptions → ours: none slips through."""

from __future__ import annotations

import inspect
import re

import httpx
import pytest

from client import errors
from promptmill.dialects import Route
from promptmill.dialects.openai import OpenAI
from worker.calls import failures

ROUTE = Route(OpenAI("local", "http://localhost/v1", "sk-secret1", "KEY"), "llama")
FOREIGN = [
    kind
    for _, kind in inspect.getmembers(httpx, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__.startswith("httpx")
]


def bare(kind: type[Exception], message: str = "") -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__name__)
def test_every_exception_of_httpx_is_caught_and_translated(kind: type[Exception]) -> None:
    assert issubclass(kind, failures.FOREIGN)
    error = failures.translate(bare(kind, "the key sk-secret1 broke"), ROUTE, 5)
    assert isinstance(error, errors.JobError)
    assert str(error).startswith("local/llama ")
    assert re.search(r"\. (Check|See|Give) [^.]+\.$", str(error)), "it tells the next step"
    assert "sk-secret1" not in str(error)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (TimeoutError, errors.ProviderTimeout),
        (httpx.ConnectTimeout, errors.ProviderTimeout),
        (httpx.ReadTimeout, errors.ProviderTimeout),
        (httpx.PoolTimeout, errors.ProviderTimeout),
        (httpx.ConnectError, errors.ProviderUnreachable),
        (httpx.ReadError, errors.ProviderUnreachable),
        (httpx.RemoteProtocolError, errors.ProviderUnreachable),
        (httpx.ProxyError, errors.ProviderUnreachable),
        (httpx.DecodingError, errors.MalformedResponse),
        (httpx.UnsupportedProtocol, errors.ProviderNotConfigured),
        (httpx.InvalidURL, errors.ProviderNotConfigured),
    ],
)
def test_what_happened_decides_the_error(kind: type[Exception], expected: type[errors.JobError]) -> None:
    assert type(failures.translate(bare(kind), ROUTE, 5)) is expected


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (httpx.ConnectError, False),
        (httpx.ConnectTimeout, False),
        (httpx.PoolTimeout, False),
        (httpx.ProxyError, False),
        (httpx.InvalidURL, False),
        (httpx.ReadTimeout, None),
        (httpx.WriteError, None),
        (httpx.RemoteProtocolError, None),
        (TimeoutError, None),
    ],
)
def test_where_no_request_went_out_the_error_says_so(kind: type[Exception], sent: bool | None) -> None:
    assert failures.translate(bare(kind), ROUTE, 5).details.get("sent") is sent


def test_the_deadline_is_named() -> None:
    words = str(failures.translate(TimeoutError(), ROUTE, 2.5))
    assert words.startswith("local/llama did not answer within 2.5 s. ")
