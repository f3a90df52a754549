"""The one sentence a provider's refusal becomes: who, what, why, and what to do next."""

from __future__ import annotations

from client.errors import (
    AuthenticationFailed,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    ModelNotFound,
    Overloaded,
    PermissionRefused,
    ProviderError,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    ServerError,
    TransientProviderError,
)

from .base import Headers, Provider
from .refusals import classify, read_refusal
from .retry_after import retry_after_s

MAX_QUOTED_CHARS = 300  # of the provider's own message

_NEXT: dict[type[ProviderError], str] = {
    BadRequest: "Correct the request before sending it again.",
    AuthenticationFailed: "Check {key}.",
    PermissionRefused: "Use a key that may call this model ({key}).",
    QuotaExhausted: "Top up the account behind {key}.",
    ModelNotFound: "Check the model's name, and that {key} may use it.",
    ContextTooLong: "Shorten the messages, or choose a model with a larger context.",
    ContentFiltered: "Change the prompt.",
    RateLimited: "Send less at once, or have the account's limit raised.",
    Overloaded: "Try again later, or choose another model.",
    ProviderTimeout: "Try again; a smaller request is answered sooner.",
    ServerError: "Try again later; the provider's status page may say more.",
    TransientProviderError: "Try again.",
}


def refuse(provider: Provider, status: int, headers: Headers, body: bytes, model: str) -> ProviderError:
    """The typed error of a status that is not 2xx, with a message that is safe to show."""
    refusal = read_refusal(body)
    kind = classify(status, refusal)
    said = _quote(provider.redact(refusal.message or ""))
    step = _NEXT.get(kind, "").format(key=provider.key_variable)
    if refusal.is_html:
        said = "an HTML page, so probably not from the provider but from a proxy in between"
    if status < 400 or (refusal.is_html and status < 500):
        step = f"Check that {provider.base_url_shown} is the address of its API."
    told_s = retry_after_s(headers)
    code = provider.redact(refusal.code)[:100] if refusal.code else None
    sentence = f"{provider.name}/{model} answered {status}" + (f" {code}" if code else "")
    if said:
        sentence += f": {said}"
    if not sentence.endswith((".", "!", "?", "…")):
        sentence += "."
    return kind(
        f"{sentence} {step}".rstrip(),
        provider=provider.name,
        model=model,
        status=status,
        code=code,
        retry_after_s=told_s if told_s is not None else refusal.retry_after_s,
        request_id=provider.request_id(headers),
    )


def _quote(message: str) -> str:
    message = " ".join(message.split())
    return message if len(message) <= MAX_QUOTED_CHARS else message[: MAX_QUOTED_CHARS - 1] + "…"
