"""What a provider is: renders requests to bytes, reads answers from bytes. It does no I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from client.errors import MalformedResponse, ProviderError
from client.schemas import ChatRequest, EmbedRequest, Usage

from .redaction import redact

Headers = Mapping[str, str]  # looked up case-insensitively, as httpx.Headers are


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One POST, ready to be sent."""

    url: httpx.URL
    headers: dict[str, str] = field(repr=False)  # holds the key
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What one call answered. `model` is the provider's own name for the model that did."""

    text: str
    finish_reason: str | None
    model: str
    usage: Usage
    tool_calls: list[dict[str, Any]]
    response_id: str | None


@dataclass(frozen=True, slots=True)
class EmbedAnswer:
    """One vector for each text, in the texts' order."""

    vectors: list[list[float]]
    model: str
    usage: Usage


class Reply(BaseModel):
    """The part of a provider's JSON that we read; all else is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


_Reply = TypeVar("_Reply", bound=Reply)


class Provider(ABC):
    """One configured provider. Pure: the same request always renders to the same bytes."""

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        self.name = name
        self.base_url = base_url
        self.key_variable = key_variable  # the environment variable to name in an error
        self._api_key = api_key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @abstractmethod
    def render_chat(self, request: ChatRequest, model: str) -> HttpCall:
        """The call that asks `model`. `request.extra` is applied last and may override any field;
        `request.metadata` is never sent. Raises BadRequest for what the provider has no way to say."""

    @abstractmethod
    def parse_chat(self, body: bytes, headers: Headers, model: str) -> ChatAnswer:
        """The answer in a 2xx body. Raises MalformedResponse if there is none."""

    @abstractmethod
    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        """As `render_chat`, for vectors."""

    @abstractmethod
    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        """As `parse_chat`, for vectors."""

    @abstractmethod
    def map_error(self, status: int, headers: Headers, body: bytes, model: str) -> ProviderError:
        """The typed error for a status that is not 2xx. Its message holds no secret."""

    def redact(self, text: str) -> str:
        """`text` without this provider's key, or anything else that looks like a secret."""
        return redact(text, self._api_key)

    def _read(self, shape: type[_Reply], body: bytes, headers: Headers, model: str) -> _Reply:
        try:
            return shape.model_validate_json(body)
        except ValidationError as error:
            reason = summarise(error)
        raise self._malformed(reason, headers, model)

    def _malformed(self, reason: str, headers: Headers, model: str) -> MalformedResponse:
        return MalformedResponse(
            f"{self.name}/{model} answered what cannot be read: {self.redact(reason)}. "
            f"Check that {self.base_url_shown} is the address of its API.",
            provider=self.name,
            model=model,
            request_id=request_id(headers),
        )

    @property
    def base_url_shown(self) -> str:
        return self.redact(self.base_url)


def count(value: Any) -> int | None:
    """A number of tokens as the provider told it; None for anything that is not one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def request_id(headers: Headers) -> str | None:
    """OpenAI's and Anthropic's names for the id to quote in a support ticket."""
    return headers.get("x-request-id") or headers.get("request-id")


def summarise(error: ValidationError) -> str:
    """The first complaint, without the value that caused it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{where}: {reason}" if where else reason
