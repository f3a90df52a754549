"""OpenAI's chat completions and embeddings, and the many servers that speak the same."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic_core import to_json

from client.errors import ProviderError
from client.wire.schemas import ChatRequest, EmbedRequest
from promptmill.dialects.answers import ChatAnswer, Delta, EmbedAnswer, HttpCall, first, mapping, text_or_none
from promptmill.dialects.base import Headers, Provider
from promptmill.dialects.refuse import refuse
from promptmill.dialects.sse import Event

from .answer import (
    ChatReply,
    EmbeddingsReply,
    call_parts,
    read_embed_usage,
    read_usage,
    reasoning_of,
    status_of,
    text_of,
)

# Hosts that take `max_completion_tokens` for every chat model, and refuse `max_tokens` for some
_OWN_HOSTS = ("api.openai.com", ".api.openai.com", ".openai.azure.com")

_STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


class OpenAI(Provider):
    """`base_url` ends in /v1 as a rule; a key is sent if there is one.

    `max_tokens` goes out as `max_completion_tokens` to OpenAI's own and Azure's hosts, whose o-series and
    gpt-5 know no other name, and as `max_tokens` to every other host, where it is the name all know. Where
    that is wrong, leave `max_tokens` unset and put the right field into `extra`.

    EmbeddingsReply are asked for in base64 where that is known to work, at the same hosts. With
    `extra={"encoding_format": "base64"}` any other is asked so, too.

    A stream is asked for with `stream_options: {"include_usage": true}`, or it would not tell its tokens. A
    host that refuses the field gets none with `extra={"stream_options": None}`.
    """

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        super().__init__(name, base_url, api_key, key_variable)
        self._chat_url = httpx.URL(f"{base_url}/chat/completions")
        self._embed_url = httpx.URL(f"{base_url}/embeddings")
        self._headers = {"content-type": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        is_own = self._chat_url.host.endswith(_OWN_HOSTS)
        # A part's JSON is read in one go: text takes 30 ms for 128 vectors of 1,536, base64 2 ms
        self.embed_items, self.embed_tokens = (2_048, 300_000) if is_own else (128, 100_000)
        self._encoding = "base64" if is_own else "float"  # not every server knows base64
        self._max_tokens_field = "max_completion_tokens" if is_own else "max_tokens"

    def render_chat(self, request: ChatRequest, model: str, *, stream: bool = False) -> HttpCall:
        body: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": m.role, "content": m.content, **(m.model_extra or {})} for m in request.messages
            ],
        }
        options = {
            self._max_tokens_field: request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop": request.stop,
            "seed": request.seed,
            "tools": request.tools or None,
            "tool_choice": request.tool_choice,
            "response_format": request.response_format,
        }
        body.update({name: value for name, value in options.items() if value is not None})
        body |= _STREAMED | request.extra if stream else request.extra
        if body.get("stream_options", ...) is None:
            del body["stream_options"]
        return HttpCall(self._chat_url, self._headers, to_json(body))

    def parse_chat(self, body: bytes, headers: Headers, model: str) -> ChatAnswer:
        reply = self._read(ChatReply, body, headers, model)
        if not reply.choices:
            raise self._no_answer(reply.error, "no choices", headers, model)
        choice = reply.choices[0]
        if choice.error:
            raise self._no_answer(choice.error, "no choices", headers, model)
        message = choice.message
        answer = ChatAnswer(
            # a refusal (structured outputs) stands where the content would
            text=text_of(message.content) or message.refusal or "",
            finish_reason="content_filter" if message.refusal else choice.finish_reason,
            model=reply.model or model,
            usage=read_usage(reply.usage),
            tool_calls=message.tool_calls or [],
            response_id=reply.id,
            reasoning=reasoning_of(message.reasoning_content, message.reasoning, message.content) or None,
        )
        return self.finished(answer, headers, model)

    def parse_event(self, event: Event, headers: Headers, model: str) -> Delta | None:
        if event.data.strip() == b"[DONE]":
            return Delta(is_last=True)
        chunk = self._read_object(event.data, headers, model)
        choice = first(chunk.get("choices"))
        if error := chunk.get("error") or choice.get("error") or (chunk if event.name == "error" else None):
            raise self._no_answer(error, "no choices", headers, model)
        delta = mapping(choice.get("delta"))
        content, refusal, calls = delta.get("content"), delta.get("refusal"), delta.get("tool_calls")
        return Delta(
            text=(refusal if isinstance(refusal, str) else "") or text_of(content),
            reasoning=reasoning_of(delta.get("reasoning_content"), delta.get("reasoning"), content),
            tool_calls=tuple(call_parts(calls)) if calls else (),
            finish_reason=text_or_none(choice.get("finish_reason")),
            usage=read_usage(chunk["usage"]) if chunk.get("usage") else None,
            model=text_or_none(chunk.get("model")),
            response_id=text_or_none(chunk.get("id")),
            is_refusal=bool(refusal),
        )

    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        body: dict[str, Any] = {"model": model, "input": request.texts, "encoding_format": self._encoding}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return HttpCall(self._embed_url, self._headers, to_json(body | request.extra))

    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        reply = self._read(EmbeddingsReply, body, headers, model)
        if not reply.data:
            raise self._no_answer(reply.error, "no data", headers, model)
        vectors = [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
        return EmbedAnswer(vectors, reply.model or model, read_embed_usage(reply.usage))

    def map_error(self, status: int, headers: Headers, body: bytes, model: str) -> ProviderError:
        return refuse(self, status, headers, body, model)

    def _no_answer(self, error: Any, missing: str, headers: Headers, model: str) -> ProviderError:
        """OpenRouter and others put an upstream's refusal into a 200, and any host into a stream."""
        if not error:
            return self.malformed(f"there are {missing} in it", headers, model)
        return refuse(self, status_of(error), headers, to_json({"error": error}), model)
