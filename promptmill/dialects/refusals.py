"""Status and body of a refusal → the typed error, by the table of client/wire/refusals.py.

The body goes first: providers put an empty account behind 429, an overlong prompt behind 400 and
overload behind 500. Codes are matched exactly, words only where the provider has no code for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from client.errors import (
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    ModelNotFound,
    PermanentProviderError,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from client.wire.refusals import BY_CODE, BY_STATUS

from .reader import objects_in, read_json
from .retry_after import retry_after_in

MAX_READ_CHARS = 2_000  # of a message; more than is ever shown

_REQUEST_STATUSES = (400, 403, 413, 422, 429)  # where the words below are about this request
_BY_WORDS: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (
        # Anthropic's 400, twice; Google's 429; OpenAI's behind a gateway, where Google says it of a minute's quota, too
        re.compile(
            r"credit balance is too low|reached your specified api usage|credits are depleted"
            r"|exceeded your current quota(?!.*(?:ai\.google\.dev|quota exceeded for|retry (?:in|after)))",
            re.I | re.S,
        ),
        QuotaExhausted,
    ),
    (
        # the last two: OpenAI's, behind a gateway; OpenRouter's 403
        re.compile(
            r"content (?:filtering|management) policy|content filter|our safety system|requires moderation",
            re.I,
        ),
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
    # LiteLLM's 400; OpenRouter's
    (re.compile(r"^\S* ?invalid model name passed|is not a valid model id\b", re.I), ModelNotFound),
)
# What LiteLLM, and servers built on OpenAI's SDK, put in front of another provider's error
_PASSED_ON = re.compile(r"(?:Exception|Error code: \d{3}) - (?:b['\"])?(\{.*)", re.S)
# in JSON, or as Python shows it
_QUOTED_CODE = re.compile(r"""["'](code|reason|type)["']: ?["'](\w+)["']""")


# What the words of an error would have been as a status, where it came with another: those of OpenAI, Anthropic, Google
_STATUSES = {
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "out_of_range": 400,
    "authentication_error": 401,
    "unauthenticated": 401,
    "billing_error": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "not_found": 404,
    "request_too_large": 413,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "resource_exhausted": 429,
    "server_error": 500,
    "api_error": 500,
    "internal": 500,
    "unavailable": 503,
    "timeout_error": 504,
    "deadline_exceeded": 504,
    "overloaded_error": 529,
}


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


def error_in(data: dict[str, Any]) -> Any:
    """The error that an object of a 200 is, or holds; None where there is none."""
    error = data.get("error")
    if error and error is not True:
        return error
    if error or data.get("type") == "error" or data.get("object") == "error":  # Anthropic's; vLLM's
        return {name: value for name, value in data.items() if name != "error"}
    errors = data.get("errors")  # Cloudflare's
    return errors[0] if isinstance(errors, list) and errors else None


def status_in(error: Any) -> int:
    """What an error that came with another status would have been: its code is one, or a word; 502 where it says
    neither."""
    told = (error.get(name) for name in ("code", "type", "status")) if isinstance(error, dict) else ()
    for word in (str(each).strip() for each in told):
        status = _STATUSES.get(word.lower()) or (int(word) if word.isdecimal() and len(word) == 3 else 0)
        if 400 <= status < 600:
            return status
    return 502


def read_refusal(body: bytes) -> Refusal:
    """Never raises, whatever the characters and the frames: a body that is not JSON is its own message, and a page of
    HTML none."""
    text = body[:MAX_READ_CHARS].decode(errors="replace").removeprefix("\ufeff").strip()
    if text.startswith("<"):
        return Refusal(is_html=True)
    try:
        data = read_json(body, may_be_cut=True)
    except ValueError:
        data = next(objects_in(body, may_be_cut=True), text)
    if isinstance(data, list) and data:  # Google's compatible endpoint wraps it in a list
        data = data[0]
    if not isinstance(data, dict):
        return Refusal(message=str(data or "")[:MAX_READ_CHARS] or None)
    error = error_in(data) or data  # vLLM and Mistral do not nest it
    if not isinstance(error, dict):
        return Refusal(message=_words(error))
    message = _words(error.get("message")) or _words(error.get("detail"))
    told = (*_codes_passed_on(message), *_inner_codes(error), *map(error.get, ("code", "type", "status")))
    codes = (" ".join(code.split()) for code in told if isinstance(code, str) and code.strip())
    return Refusal(
        message=message,
        codes=tuple(sorted(codes, key=str.isdecimal)),  # a status that is repeated says least
        retry_after_s=retry_after_in(error),
    )


def classify(status: int, refusal: Refusal) -> type[ProviderError]:
    """The class of error: by code, then by words, then by status."""
    told = next((kind for code in refusal.codes if (kind := BY_CODE.get(code.lower()))), None)
    if told and told is not RateLimited:  # which gateways say of every 429
        return told
    if status in _REQUEST_STATUSES and refusal.message:
        for words, kind in _BY_WORDS:
            if words.search(refusal.message):
                return kind
    if kind := told or BY_STATUS.get(status):
        return kind
    if status >= 500:
        return ServerError
    return BadRequest if status >= 400 else PermanentProviderError


def names_model(refusal: Refusal, model: str) -> bool:
    """Whether a refusal is about the model, and not about the address."""
    if any(BY_CODE.get(code.lower()) is ModelNotFound for code in refusal.codes):
        return True
    said = (refusal.message or "")[:MAX_READ_CHARS]
    name = re.escape(model)
    return bool(
        re.search(rf"\b(?:model|deployment)\b|^models/|(?<![\w/-]){name}(?![\w-])", said, re.IGNORECASE)
    )


def _codes_passed_on(message: str | None) -> list[str]:
    """The codes of an error that a gateway quotes in its own, `code` first."""
    quoted = _PASSED_ON.search(message or "")
    return [code for _, code in sorted(_QUOTED_CODE.findall(quoted[1]))] if quoted else []


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
