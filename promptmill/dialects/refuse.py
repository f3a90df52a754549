"""The errors that name a provider, each one sentence: who, what, why, and what to do next."""

from __future__ import annotations

from client.errors import (
    AuthenticationFailed,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    MalformedResponse,
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

from .answers import Headers
from .redaction import redact, secrets_of
from .refusals import Refusal, classify, names_model, read_refusal
from .retry_after import retry_after_s

MAX_QUOTED_CHARS = 300  # of the provider's own message
MAX_ID_CHARS = 200  # of a request's id
_NOT_THERE = (404, 405)  # no such model, or no such address

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


class ProviderErrors:
    """A provider's name, address and secrets, and its errors. None of them holds a secret."""

    version = "as a rule /v1"  # what its address ends in

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        self.name = name
        self.base_url = base_url
        self.key_variable = key_variable  # the environment variable to name in an error
        self._secrets = secrets_of(base_url, api_key)  # an address that is none is refused here

    def map_error(self, status: int, headers: Headers, body: bytes, model: str) -> ProviderError:
        """The typed error of a status that is not 2xx."""
        refusal = read_refusal(body)
        kind = classify(status, refusal)
        said = _quote(self.redact(refusal.message or ""))
        if refusal.is_html:
            said = "an HTML page, so probably not from the provider but from a proxy in between"
        step = self._next_step(kind, status, refusal, model)
        told_s = retry_after_s(headers)
        code = self.redact(refusal.code)[:100] if refusal.code else None
        sentence = f"{self.name}/{model} answered {status}" + (f" {code}" if code else "")
        if said:
            sentence += f": {said}"
        if not sentence.endswith((".", "!", "?", "…")):
            sentence += "."
        return kind(
            f"{sentence} {step}".rstrip(),
            provider=self.name,
            model=model,
            status=status,
            code=code,
            retry_after_s=told_s if told_s is not None else refusal.retry_after_s,
            request_id=self.request_id(headers),
        )

    def _next_step(self, kind: type[ProviderError], status: int, refusal: Refusal, model: str) -> str:
        step = _NEXT.get(kind, "").format(key=self.key_variable)
        if status < 400 or (refusal.is_html and status < 500):
            return self._check_address
        if status not in _NOT_THERE or names_model(refusal, model):
            return step
        return f"{step} {self._check_address}" if refusal.codes else self._check_address

    def filtered(self, what: str, headers: Headers, model: str) -> ContentFiltered:
        """A filter stopped `what`."""
        return ContentFiltered(
            f"{self.name}/{model}: a content filter stopped {what}. Change the prompt.",
            provider=self.name,
            model=model,
            code="content_filter",
            request_id=self.request_id(headers),
        )

    def malformed(
        self, reason: str, headers: Headers, model: str, *, is_final: bool = False, is_strange: bool = False
    ) -> MalformedResponse:
        """A 2xx that holds no answer; `is_final` where another try would bring the same, `is_strange` where it may be
        of another service."""
        step = "Ask again; if it happens often, try another model."
        if is_final:
            step = "Ask for less, or try another model."
        return MalformedResponse(
            f"{self.name}/{model} answered what cannot be read: {self.redact(reason)}. "
            f"{self._check_address if is_strange else step}",
            provider=self.name,
            model=model,
            final=is_final or None,
            request_id=self.request_id(headers),
        )

    def cut_off(self, reason: str, headers: Headers, model: str) -> MalformedResponse:
        """A stream that ended in the middle."""
        return MalformedResponse(
            f"The stream of {self.name}/{model} was cut off: {self.redact(reason)}. "
            "Ask again; if it happens often, look for a proxy that limits time or size.",
            provider=self.name,
            model=model,
            request_id=self.request_id(headers),
        )

    def redact(self, text: str) -> str:
        """`text` without this provider's secrets, or anything else that looks like one."""
        return redact(text, *self._secrets)

    def request_id(self, headers: Headers) -> str | None:
        """The id to quote in a support ticket, by OpenAI's or Anthropic's name for it."""
        told = headers.get("x-request-id") or headers.get("request-id")
        return self.redact(told)[:MAX_ID_CHARS] if told else None

    def _bad_request(self, reason: object, model: str) -> BadRequest:
        return BadRequest(f"{self.name}/{model} {reason}.", provider=self.name, model=model, sent=False)

    @property
    def _check_address(self) -> str:
        """Most addresses that are wrong lack their version, or have the path of a verb behind it."""
        shown = self.base_url_shown
        return f"Check that {shown} is the address of its API, with its version, {self.version}, at the end."

    @property
    def base_url_shown(self) -> str:
        return self.redact(self.base_url)


def _quote(message: str) -> str:
    message = " ".join(message.split())
    return message if len(message) <= MAX_QUOTED_CHARS else message[: MAX_QUOTED_CHARS - 1] + "…"
