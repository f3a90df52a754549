"""What an SDK raises → the error of ours that it stands for, where another try may help. Imports no SDK.

The SDKs made by Stainless, openai and anthropic among them, name their errors alike: an APIStatusError has the
`response`, an APITimeoutError or APIConnectionError had none. httpx's own stand for calls without an SDK.
"""

from __future__ import annotations

from typing import Any

from client.errors import (
    JobError,
    MillError,
    ProviderError,
    ProviderTimeout,
    ProviderUnreachable,
    QueueUnavailable,
    SlotLost,
)
from client.limits.rules.retry_after import retry_after_s
from promptmill.dialects.redaction import redact
from promptmill.dialects.refusals import classify, read_refusal

from .retries import asked_s

MAX_SAID_CHARS = 300

# The first name that one of the error's classes has decides. None: the request itself cannot be sent.
_UNANSWERED: tuple[tuple[str, type[ProviderError] | None], ...] = (
    ("APITimeoutError", ProviderTimeout),
    ("APIConnectionError", ProviderUnreachable),
    ("httpx.TimeoutException", ProviderTimeout),
    ("httpx.UnsupportedProtocol", None),
    ("httpx.LocalProtocolError", None),
    ("httpx.TransportError", ProviderUnreachable),
)


def worth_a_try(error: BaseException) -> MillError | None:
    """The error worth another try that `error` is or stands for; None for any other.

    A group is worth one where all that it holds is: the one that has to wait longest stands for it.
    """
    if isinstance(error, QueueUnavailable | SlotLost):  # Redis was away, or this worker stood still
        return error
    if isinstance(error, JobError):
        return error if error.retryable else None
    if isinstance(error, BaseExceptionGroup):
        found = [worth_a_try(each) for each in error.exceptions]
        alike = [each for each in found if each is not None]
        return max(alike, key=asked_s) if len(alike) == len(found) else None
    response = getattr(error, "response", None)
    if response is not None and isinstance(getattr(response, "status_code", None), int):
        return _refused(error, response)
    kind = _unanswered(error)
    return kind(_said(error), error_type=type(error).__name__) if kind else None


def _refused(error: BaseException, response: Any) -> JobError | None:
    """By its body first, as a provider's refusal is: an account without money is refused with 429, too."""
    status, headers = response.status_code, getattr(response, "headers", {})
    refusal = read_refusal(_body(response))
    kind = classify(status, refusal)
    if status < 400 or not kind.retryable:
        return None
    told_s = retry_after_s(headers)
    return kind(
        _said(error),
        status=status,
        code=refusal.code,
        retry_after_s=refusal.retry_after_s if told_s is None else told_s,
        request_id=headers.get("x-request-id") or headers.get("request-id"),
        error_type=type(error).__name__,
    )


def _body(response: Any) -> bytes:
    try:
        content = response.content
    except Exception:  # of a stream that was not read: every HTTP library has a class of its own for that
        return b""
    return content if isinstance(content, bytes) else b""


def _unanswered(error: BaseException) -> type[ProviderError] | None:
    names = {name for cls in type(error).__mro__ for name in _names(cls)}
    return next((kind for name, kind in _UNANSWERED if name in names), None)


def _names(cls: type) -> tuple[str, ...]:
    package = cls.__module__.partition(".")[0]
    return (f"httpx.{cls.__name__}",) if package in ("httpx", "httpx2") else (cls.__name__,)


def _said(error: BaseException) -> str:
    said = " ".join(redact(str(error)).split())[:MAX_SAID_CHARS]
    return f"{type(error).__name__}: {said}".removesuffix(": ")
