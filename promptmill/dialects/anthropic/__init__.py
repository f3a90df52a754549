"""Anthropic's messages API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from client.wire.schemas import ChatRequest, EmbedRequest
from promptmill.dialects.address import address
from promptmill.dialects.answers import ChatAnswer, Delta, EmbedAnswer, Headers, HttpCall, mapping
from promptmill.dialects.base import CannotSay, Provider
from promptmill.dialects.neutral import joined

from .answer import read_event, read_message, settled
from .ask import chat_body

API_VERSION = "2023-06-01"  # the `anthropic-version` header


class Anthropic(Provider):
    """`base_url` ends in /v1. `max_tokens` is DEFAULT_MAX_TOKENS where the request sets none; `seed`, which
    the API does not know, is not sent."""

    kind = "anthropic"

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        super().__init__(name, base_url, api_key, key_variable)
        self._url = address(base_url, "/messages")

    @staticmethod
    def key_headers(api_key: str | None) -> dict[str, str]:
        return {"anthropic-version": API_VERSION, **({"x-api-key": api_key} if api_key else {})}

    def render_chat(self, request: ChatRequest, model: str, *, stream: bool = False) -> HttpCall:
        try:
            body = chat_body(request, model)
        except CannotSay as reason:
            raise self._bad_request(reason, model) from None
        if not body["messages"]:
            raise self._bad_request("needs at least one user message besides the system message", model)
        if stream:
            body["stream"] = True
        body = joined(body, self.extra_of(request), "output_config")
        return HttpCall(self._url, self._headers, to_json(body))

    def parse_chat(self, body: bytes | dict[str, Any], headers: Headers, model: str) -> ChatAnswer:
        reply = self._read_object(body, headers, model)
        blocks = reply.get("content")  # empty after a turn that needed no words
        if not isinstance(blocks, list) or not all(mapping(block).get("type") for block in blocks):
            raise self._no_answer(reply, "there is no content in it", headers, model)
        return self.finished(read_message(reply, blocks).answer(model), headers, model)

    def finished(self, answer: ChatAnswer, headers: Headers, model: str) -> ChatAnswer:
        return super().finished(replace(answer, extra=settled(answer.extra)), headers, model)

    def read_event(self, data: dict[str, Any], headers: Headers, model: str) -> Delta | ChatAnswer | None:
        if data.get("type") == "message":
            return self.parse_chat(data, headers, model)
        return read_event(data)

    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        raise self._bad_request(
            "cannot embed: Anthropic has no embeddings; choose an OpenAI-compatible provider for this model",
            model,
        )

    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        raise self.malformed("Anthropic has no embeddings", headers, model)


DIALECT = Anthropic
