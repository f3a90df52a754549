"""Anthropic's messages API."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic_core import to_json

from client.errors import BadRequest, ProviderError
from client.schemas import ChatRequest, EmbedRequest, Usage

from .anthropic_messages import split_system, to_tool_call
from .base import ChatAnswer, EmbedAnswer, Headers, HttpCall, Provider, Reply, count
from .sentences import refuse

API_VERSION = "2023-06-01"  # the `anthropic-version` header
DEFAULT_MAX_TOKENS = 4_096  # the API requires a limit; every Claude model can write this many

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class Anthropic(Provider):
    """`base_url` ends in /v1. `max_tokens` is DEFAULT_MAX_TOKENS where the request sets none; `seed`, which
    the API does not know, is not sent."""

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        super().__init__(name, base_url, api_key, key_variable)
        self._url = httpx.URL(f"{base_url}/messages")
        self._headers = {"content-type": "application/json", "anthropic-version": API_VERSION}
        if api_key:
            self._headers["x-api-key"] = api_key

    def render_chat(self, request: ChatRequest, model: str) -> HttpCall:
        system, messages = split_system(request.messages)
        if not messages:
            raise BadRequest(
                f"{self.name}/{model} needs at least one user message besides the system message.",
                provider=self.name,
                model=model,
            )
        options = {
            "system": system,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop_sequences": [request.stop] if isinstance(request.stop, str) else request.stop,
        }
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": request.max_tokens or DEFAULT_MAX_TOKENS,
            "messages": messages,
            **{name: value for name, value in options.items() if value is not None},
        }
        return HttpCall(self._url, self._headers, to_json(body | request.extra))

    def parse_chat(self, body: bytes, headers: Headers, model: str) -> ChatAnswer:
        reply = self._read(_Reply, body, headers, model)
        reason = reply.stop_reason
        return ChatAnswer(
            text="".join(block.text or "" for block in reply.content if block.type == "text"),
            finish_reason=_FINISH_REASONS.get(reason, reason) if reason else None,
            model=reply.model or model,
            usage=_usage(reply.usage),
            tool_calls=[to_tool_call(b.id, b.name, b.input) for b in reply.content if b.type == "tool_use"],
            response_id=reply.id,
        )

    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        raise BadRequest(
            f"{self.name}/{model} cannot embed: Anthropic has no embeddings; "
            "choose an OpenAI-compatible provider for this model.",
            provider=self.name,
            model=model,
        )

    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        raise self._malformed("Anthropic has no embeddings", headers, model)

    def map_error(self, status: int, headers: Headers, body: bytes, model: str) -> ProviderError:
        return refuse(self, status, headers, body, model)


class _Block(Reply):
    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Reply(Reply):
    content: list[_Block]  # empty after a turn that needed no words
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: Any = None


def _usage(usage: Any) -> Usage:
    """Anthropic's `input_tokens` are only those that met no cache: the total is input + read + created."""
    if not isinstance(usage, dict):
        return Usage()
    fresh = count(usage.get("input_tokens"))
    read = count(usage.get("cache_read_input_tokens"))
    created = count(usage.get("cache_creation_input_tokens"))
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (created or 0),
        output_tokens=count(usage.get("output_tokens")),
        cached_input_tokens=read,
    )
