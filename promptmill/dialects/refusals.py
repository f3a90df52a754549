"""Status and body of a refusal → the typed error, by the table of client/wire/refusals.py.

The body goes first: providers put an empty account behind 429, an overlong prompt behind 400 and
overload behind 500. Codes are matched exactly, words only where the provider has no code for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from client.errors import (
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    PermanentProviderError,
    ProviderError,
    QuotaExhausted,
    ServerError,
)
from client.wire.refusals import BY_CODE, BY_STATUS

from .retry_after import retry_after_in

MAX_READ_CHARS = 2_000  # of a message; more than is ever shown

_REQUEST_STATUSES = (400, 403, 413, 422, 429)  # where the words below are about this request
_BY_WORDS: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (
        # Anthropic's 400, twice; Google's 429
        re.compile(r"credit balance is too low|reached your specified api usage|credits are depleted", re.I),
        QuotaExhausted,
    ),
    (
        # the last: OpenRouter's 403
        re.compile(r"content (?:filtering|management) policy|content filter|requires moderation", re.I),
        ContentFiltered,
    ),
    (
        re.compile(
            # the last: one request above OpenAI's tokens per minute, a 429 that no waiting cures
            r"prompt is too long|maximum context length|context window|exceed(?:s|ed)? (?:the )?context"
            r"|exceeds the maximum number of tokens|request payload size exceeds|^request too large for",
            re.I,
        ),
        ContextTooLong,
    ),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a provider's error body says, whatever its shape."""

    message: str | None = None
    codes: tuple[str, ...] = ()  # the most specific first
    is_html: bool = False
    retry_after_s: float | None = None  # seconds, where the body says so

    @property
    def code(self) -> str | None:
        return self.codes[0] if self.codes else None


def read_refusal(body: bytes) -> Refusal:
    """Never raises: a body that is not JSON is its own message, and a page of HTML none."""
    if body.lstrip()[:1] == b"<":
        return Refusal(is_html=True)
    try:
        data = from_json(body)
    except ValueError:
        return Refusal(message=body[:MAX_READ_CHARS].decode(errors="replace").strip() or None)
    if isinstance(data, list) and data:  # Google's compatible endpoint wraps it in a list
        data = data[0]
    if not isinstance(data, dict):
        return Refusal(message=str(data)[:MAX_READ_CHARS])
    error = data.get("error", data)  # vLLM and Mistral do not nest it
    if not isinstance(error, dict):
        return Refusal(message=_words(error))
    codes = (*_inner_codes(error), error.get("code"), error.get("type"), error.get("status"))
    return Refusal(
        message=_words(error.get("message")) or _words(error.get("detail")),
        codes=tuple(code for code in codes if isinstance(code, str) and code),
        retry_after_s=retry_after_in(error),
    )


def classify(status: int, refusal: Refusal) -> type[ProviderError]:
    """The class of error: by code, then by words, then by status."""
    for code in refusal.codes:
        if kind := BY_CODE.get(code.lower()):
            return kind
    if status in _REQUEST_STATUSES and refusal.message:
        for words, kind in _BY_WORDS:
            if words.search(refusal.message):
                return kind
    if kind := BY_STATUS.get(status):
        return kind
    if status >= 500:
        return ServerError
    return BadRequest if status >= 400 else PermanentProviderError


def _inner_codes(error: dict[str, Any]) -> Iterator[Any]:
    """Azure says which policy in `innererror`; only the filter matters here. `details` have Anthropic's own code,
    and Google's reasons, such as API_KEY_INVALID."""
    inner = error.get("innererror")
    if isinstance(inner, dict) and inner.get("code") == "ResponsibleAIPolicyViolation":
        yield "content_filter"
    details = error.get("details")
    if isinstance(details, dict):
        yield details.get("error_code")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield detail.get("reason")


def _words(value: Any) -> str | None:
    """A sentence; FastAPI servers say `detail: [{"msg": …}]`, and Mistral puts that into its message."""
    if isinstance(value, dict) and "detail" in value:
        value = value["detail"]
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        value = value.get("msg") or value.get("message")
    return value[:MAX_READ_CHARS] if isinstance(value, str) and value.strip() else None
