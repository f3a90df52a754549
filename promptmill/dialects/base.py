"""What a provider is: renders requests to bytes, reads answers from bytes. It does no I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from client.errors import BadRequest, ContentFiltered, MalformedResponse, ProviderError
from client.wire.schemas import ChatRequest, EmbedRequest
from promptmill.dialects.sse import Event

from .answers import ChatAnswer, Delta, EmbedAnswer, HttpCall
from .redaction import redact, secrets_of

Headers = Mapping[str, str]  # looked up case-insensitively, as httpx.Headers are


class CannotSay(ValueError):
    """The provider's API has no way to say a part of the request; one clause says which and what to do."""


class Reply(BaseModel):
    """The part of a provider's JSON that we read; all else is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


_Reply = TypeVar("_Reply", bound=Reply)


class Provider(ABC):
    """One configured provider. Pure: the same request always renders to the same bytes."""

    embed_items = 100  # texts that one call takes
    embed_tokens = 100_000  # tokens of all its texts together

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        self.name = name
        self.base_url = base_url
        self.key_variable = key_variable  # the environment variable to name in an error
        self._secrets = secrets_of(base_url, api_key)  # an address that is none is refused here

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @abstractmethod
    def render_chat(self, request: ChatRequest, model: str, *, stream: bool = False) -> HttpCall:
        """The call that asks `model`. `request.extra` is applied last and may override any field;
        `request.metadata` is never sent. Raises BadRequest for what the provider has no way to say."""

    @abstractmethod
    def parse_chat(self, body: bytes, headers: Headers, model: str) -> ChatAnswer:
        """The answer in a 2xx body. Raises MalformedResponse if there is none, ContentFiltered if a filter
        left nothing of it, and the error that the body names if it names one."""

    @abstractmethod
    def parse_event(self, event: Event, headers: Headers, model: str) -> Delta | None:
        """What one event of a streamed answer adds; None if nothing. Knows no earlier event. Raises as
        `parse_chat` does."""

    @abstractmethod
    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        """As `render_chat`, for vectors."""

    @abstractmethod
    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        """As `parse_chat`, for vectors."""

    @abstractmethod
    def map_error(self, status: int, headers: Headers, body: bytes, model: str) -> ProviderError:
        """The typed error for a status that is not 2xx. Its message holds no secret, and a next step."""

    def finished(self, answer: ChatAnswer, headers: Headers, model: str) -> ChatAnswer:
        """`answer`, or ContentFiltered where the filter that ended it left nothing of it."""
        if (
            answer.finish_reason == "stop" and answer.tool_calls
        ):  # Gemini's word, and OpenAI's for a forced call
            return replace(answer, finish_reason="tool_calls")
        if answer.finish_reason != "content_filter" or answer.text or answer.tool_calls:
            return answer
        raise self.filtered("the answer", headers, model)

    def filtered(self, what: str, headers: Headers, model: str) -> ContentFiltered:
        """A filter stopped `what`."""
        return ContentFiltered(
            f"{self.name}/{model}: a content filter stopped {what}. Change the prompt.",
            provider=self.name,
            model=model,
            code="content_filter",
            request_id=self.request_id(headers),
        )

    def malformed(self, reason: str, headers: Headers, model: str) -> MalformedResponse:
        """A 2xx that holds no answer."""
        return MalformedResponse(
            f"{self.name}/{model} answered what cannot be read: {self.redact(reason)}. "
            f"Check that {self.base_url_shown} is the address of its API.",
            provider=self.name,
            model=model,
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
        return self.redact(told) if told else None

    def _read(self, shape: type[_Reply], body: bytes, headers: Headers, model: str) -> _Reply:
        try:
            return shape.model_validate_json(body)
        except ValidationError as error:
            reason = summarise(error)
        raise self.malformed(reason, headers, model)

    def _read_object(self, body: bytes, headers: Headers, model: str) -> dict[str, Any]:
        try:
            data = from_json(body)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise self.malformed("it is not a JSON object", headers, model)
        return data

    def _bad_request(self, reason: str, model: str) -> BadRequest:
        return BadRequest(f"{self.name}/{model} {reason}.", provider=self.name, model=model)

    @property
    def base_url_shown(self) -> str:
        return self.redact(self.base_url)


class Route(NamedTuple):
    """Where a request goes; as a string, `provider/model`."""

    provider: Provider
    model: str

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.model}"


def summarise(error: ValidationError) -> str:
    """The first complaint, without the value that caused it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{where}: {reason}" if where else reason
