"""What a provider is: renders requests to bytes, reads answers from bytes. It does no I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from client.errors import ProviderError
from client.wire.extras import extra_for
from client.wire.schemas import ChatRequest, EmbedRequest

from .answers import ChatAnswer, Delta, EmbedAnswer, Headers, HttpCall
from .rates import SeenRates, seen_rates
from .reader import mended, read_json
from .refusals import error_in, status_in
from .refuse import ProviderErrors


class CannotSay(ValueError):
    """The provider's API has no way to say a part of the request; one clause says which and what to do."""


class Reply(BaseModel):
    """The part of a provider's JSON that we read; all else is ignored. An id that is a number is one, too."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)


_Reply = TypeVar("_Reply", bound=Reply)


class Provider(ProviderErrors, ABC):
    """One configured provider. Pure: the same request always renders to the same bytes."""

    kind: str  # of its API: the package of promptmill/dialects
    bad_key_status = 401  # what it answers where the key is wrong
    # nothing but usage follows the event that says why the answer ended
    reason_is_last: ClassVar[bool] = True
    embed_items = 100  # texts that one call takes
    embed_tokens = 100_000  # tokens of all its texts together

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        super().__init__(name, base_url, api_key, key_variable)
        self._headers = {"content-type": "application/json", **self.key_headers(api_key)}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @abstractmethod
    def render_chat(self, request: ChatRequest, model: str, *, stream: bool = False) -> HttpCall:
        """The call that asks `model`. What of `request.extra` is for the provider is applied last;
        `request.metadata` is never sent. Raises BadRequest for what the provider has no way to say."""

    def learn(self, refusal: ProviderError, model: str) -> None:
        """Takes in what a refusal says of the names that `model` knows: what is rendered next may differ."""

    def extra_of(self, request: ChatRequest | EmbedRequest) -> dict[str, Any]:
        """Of the request's `extra`, what is for this provider, by its own names."""
        return extra_for(request.extra, self.name, self.kind) if request.extra else {}

    @abstractmethod
    def parse_chat(self, body: bytes | dict[str, Any], headers: Headers, model: str) -> ChatAnswer:
        """The answer in a 2xx body that is one JSON object, or in the object. Raises MalformedResponse if there is
        none, ContentFiltered if a filter left nothing of it, and the error that the body names if it names one."""

    @abstractmethod
    def read_event(self, data: dict[str, Any], headers: Headers, model: str) -> Delta | ChatAnswer | None:
        """What one event of a streamed answer adds; None if nothing; a whole answer, where a host sends one.
        Knows no earlier event, and of the error that an event is, only what no other dialect has. Raises as
        `parse_chat` does."""

    @abstractmethod
    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        """As `render_chat`, for vectors."""

    @abstractmethod
    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        """As `parse_chat`, for vectors."""

    @staticmethod
    @abstractmethod
    def key_headers(api_key: str | None) -> dict[str, str]:
        """The headers that the key goes out in, and those that go with it to every address of the API."""

    def seen_rates(self, headers: Headers) -> SeenRates:
        """What the headers of an answer say of the provider's rates."""
        return seen_rates(headers)

    def finished(self, answer: ChatAnswer, headers: Headers, model: str) -> ChatAnswer:
        """`answer`, or ContentFiltered where the filter that ended it left nothing of it."""
        # Gemini's word, and OpenAI's for a forced call
        if answer.finish_reason == "stop" and answer.tool_calls:
            return replace(answer, finish_reason="tool_calls")
        if answer.finish_reason != "content_filter" or answer.text or answer.tool_calls:
            return answer
        raise self.filtered("the answer", headers, model)

    def told(self, error: Any, headers: Headers, model: str) -> ProviderError:
        """The error that came with status 200. A stream has no other way to tell one, and some hosts, such as
        OpenRouter, put an upstream's refusal there."""
        return self.map_error(status_in(error), headers, to_json({"error": error}), model)

    def _no_answer(
        self, body: bytes | dict[str, Any], reason: str, headers: Headers, model: str
    ) -> ProviderError:
        """The error that a 200 tells, or malformed where it tells none."""
        error = error_in(self._read_object(body, headers, model))
        return self.told(error, headers, model) if error else self.malformed(reason, headers, model)

    def _read(
        self, shape: type[_Reply], body: bytes | dict[str, Any], headers: Headers, model: str
    ) -> _Reply:
        try:
            return shape.model_validate_json(body) if isinstance(body, bytes) else shape.model_validate(body)
        except ValidationError as error:
            reason, is_json = summarise(error), error.errors()[0]["type"] != "json_invalid"
        if is_json:
            raise self._no_answer(body, reason, headers, model)
        return self._read(shape, self._read_object(body, headers, model), headers, model)

    def _read_object(self, body: bytes | dict[str, Any], headers: Headers, model: str) -> dict[str, Any]:
        try:
            data = read_json(body) if isinstance(body, bytes) else mended(body)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise self.malformed("it is not a JSON object", headers, model, is_strange=True)
        return data


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
