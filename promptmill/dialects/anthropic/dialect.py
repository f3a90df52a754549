"""Anthropic's messages API."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic_core import to_json

from client.errors import ProviderError
from client.wire.schemas import ChatRequest, EmbedRequest
from promptmill.dialects.answers import ChatAnswer, Delta, EmbedAnswer, HttpCall
from promptmill.dialects.base import CannotSay, Headers, Provider
from promptmill.dialects.refuse import refuse
from promptmill.dialects.sse import Event

from .answer import MessageReply, finish_reason, read_event, read_usage, status_of
from .ask import split_system, to_output_config, to_tool, to_tool_call, to_tool_choice

API_VERSION = "2023-06-01"  # the `anthropic-version` header
DEFAULT_MAX_TOKENS = 4_096  # the API requires a limit; every Claude model can write this many


class Anthropic(Provider):
    """`base_url` ends in /v1. `max_tokens` is DEFAULT_MAX_TOKENS where the request sets none; `seed`, which
    the API does not know, is not sent."""

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        super().__init__(name, base_url, api_key, key_variable)
        self._url = httpx.URL(f"{base_url}/messages")
        self._headers = {"content-type": "application/json", "anthropic-version": API_VERSION}
        if api_key:
            self._headers["x-api-key"] = api_key

    def render_chat(self, request: ChatRequest, model: str, *, stream: bool = False) -> HttpCall:
        try:
            body = _render(request, model)
        except CannotSay as reason:
            raise self._bad_request(str(reason), model) from None
        if not body["messages"]:
            raise self._bad_request("needs at least one user message besides the system message", model)
        if stream:
            body["stream"] = True
        return HttpCall(self._url, self._headers, to_json(body | request.extra))

    def parse_chat(self, body: bytes, headers: Headers, model: str) -> ChatAnswer:
        reply = self._read(MessageReply, body, headers, model)
        if reply.content is None:
            raise self._no_answer(reply.error, headers, model)
        answer = ChatAnswer(
            text="".join(block.text or "" for block in reply.content if block.type == "text"),
            finish_reason=finish_reason(reply.stop_reason),
            model=reply.model or model,
            usage=read_usage(reply.usage),
            tool_calls=[to_tool_call(b.id, b.name, b.input) for b in reply.content if b.type == "tool_use"],
            response_id=reply.id,
            reasoning="".join(b.thinking or "" for b in reply.content if b.type == "thinking") or None,
        )
        return self.finished(answer, headers, model)

    def parse_event(self, event: Event, headers: Headers, model: str) -> Delta | None:
        data = self._read_object(event.data, headers, model)
        if data.get("type") == "error":
            raise self._no_answer(data.get("error"), headers, model)
        return read_event(data)

    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        raise self._bad_request(
            "cannot embed: Anthropic has no embeddings; choose an OpenAI-compatible provider for this model",
            model,
        )

    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        raise self.malformed("Anthropic has no embeddings", headers, model)

    def map_error(self, status: int, headers: Headers, body: bytes, model: str) -> ProviderError:
        return refuse(self, status, headers, body, model)

    def _no_answer(self, error: Any, headers: Headers, model: str) -> ProviderError:
        """An error that came with status 200: in a stream there is no other way to say it."""
        if not isinstance(error, dict):
            return self.malformed("there is no content in it", headers, model)
        return refuse(self, status_of(error), headers, to_json({"error": error}), model)


def _render(request: ChatRequest, model: str) -> dict[str, Any]:
    system, messages = split_system(request.messages)
    choice, wanted = request.tool_choice, request.response_format
    options = {
        "system": system,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop_sequences": [request.stop] if isinstance(request.stop, str) else request.stop,
        "tools": [to_tool(tool) for tool in request.tools] or None,
        "tool_choice": to_tool_choice(choice) if choice is not None else None,
        "output_config": to_output_config(wanted) if wanted is not None else None,
    }
    return {
        "model": model,
        "max_tokens": request.max_tokens or DEFAULT_MAX_TOKENS,
        "messages": messages,
        **{name: value for name, value in options.items() if value is not None},
    }
