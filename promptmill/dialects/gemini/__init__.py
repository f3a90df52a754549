"""Google's Gemini API: generateContent, streamGenerateContent and batchEmbedContents."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import httpx
from pydantic_core import to_json

from client.wire.schemas import ChatRequest, EmbedRequest
from promptmill.dialects.address import address
from promptmill.dialects.answers import ChatAnswer, Delta, EmbedAnswer, Headers, HttpCall, mapping
from promptmill.dialects.base import CannotSay, Provider
from promptmill.dialects.neutral import joined

from .answer import BAD_CALLS, BatchEmbedReply, read_answer, read_usage
from .ask import chat_body, embed_body, resource

_URLS = 256  # addresses remembered: one a model and verb; callers choose the models


class Gemini(Provider):
    """`base_url` ends in /v1beta. In `extra`, the fields of `generationConfig` join those we set; for
    embeddings, `extra` holds fields of each text's request, such as `taskType`."""

    bad_key_status = 400
    kind = "gemini"
    version = "as a rule /v1beta"
    reason_is_last = False  # any event may have one

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        super().__init__(name, base_url, api_key, key_variable)
        self._url: Callable[[str, str], httpx.URL] = lru_cache(_URLS)(self._url_of)

    @staticmethod
    def key_headers(api_key: str | None) -> dict[str, str]:
        return {"x-goog-api-key": api_key} if api_key else {}

    def render_chat(self, request: ChatRequest, model: str, *, stream: bool = False) -> HttpCall:
        try:
            body = chat_body(request)
        except CannotSay as reason:
            raise self._bad_request(reason, model) from None
        if not body["contents"]:
            raise self._bad_request("needs at least one user message besides the system message", model)
        body = joined(body, self.extra_of(request), "generationConfig")
        verb = "streamGenerateContent" if stream else "generateContent"
        return HttpCall(self._url(model, verb), self._headers, to_json(body))

    def parse_chat(self, body: bytes | dict[str, Any], headers: Headers, model: str) -> ChatAnswer:
        reply = self._read_object(body, headers, model)
        delta = self.read_event(reply, headers, model)
        said = delta.text or delta.tool_calls or delta.reasoning or "message" in (delta.extra or {})
        if delta.finish_reason is None and not said:
            raise self._no_answer(reply, "there are no candidates in it", headers, model)
        return self.finished(delta.answer(model), headers, model)

    def read_event(self, data: dict[str, Any], headers: Headers, model: str) -> Delta:
        blocked = mapping(data.get("promptFeedback")).get("blockReason")
        if blocked and not data.get("candidates"):
            raise self.filtered(f"the prompt ({self.redact(str(blocked))})", headers, model)
        delta = read_answer(data)
        if delta.finish_reason in BAD_CALLS and not delta.tool_calls:
            reason = f"the model made a tool call that is none ({delta.finish_reason})"
            raise self.malformed(reason, headers, model)
        return delta

    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        url = self._url(model, "batchEmbedContents")
        return HttpCall(url, self._headers, to_json(embed_body(request, model, self.extra_of(request))))

    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        reply = self._read(BatchEmbedReply, body, headers, model)
        if not reply.embeddings:
            raise self._no_answer(body, "there are no embeddings in it", headers, model)
        usage = read_usage(reply.usageMetadata)
        return EmbedAnswer([vector.values for vector in reply.embeddings], model, usage)

    def _url_of(self, model: str, verb: str) -> httpx.URL:
        query = "alt=sse" if verb == "streamGenerateContent" else ""
        return address(self.base_url, f"/{resource(model)}:{verb}", query)


DIALECT = Gemini
