"""OpenAI's chat completions and embeddings, and the many servers that speak the same."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic_core import to_json

from client.wire.schemas import ChatRequest, EmbedRequest
from promptmill.dialects.answers import ChatAnswer, Delta, EmbedAnswer, Headers, HttpCall, first
from promptmill.dialects.base import Provider

from .answer import ChatReply, EmbeddingsReply, read_chunk, read_embed_usage, read_reply
from .ask import chat_body, embed_body

# Hosts that take `max_completion_tokens` for every chat model, and refuse `max_tokens` for some
_OWN_HOSTS = ("api.openai.com", ".api.openai.com", ".openai.azure.com")


class OpenAI(Provider):
    """`base_url` ends in /v1 as a rule; a key is sent if there is one.

    `max_tokens` goes out as `max_completion_tokens` to OpenAI's own and Azure's hosts, whose o-series and
    gpt-5 know no other name, and as `max_tokens` to every other host, where it is the name all know. Where
    that is wrong, leave `max_tokens` unset and put the right field into `extra`.

    Vectors are asked for in base64 where that is known to work, at the same hosts. With
    `extra={"encoding_format": "base64"}` any other is asked so, too.

    A stream is asked for with `stream_options: {"include_usage": true}`, or it would not tell its tokens. A
    host that refuses the field gets none with `extra={"stream_options": None}`.
    """

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        super().__init__(name, base_url, api_key, key_variable)
        self._chat_url = httpx.URL(f"{base_url}/chat/completions")
        self._embed_url = httpx.URL(f"{base_url}/embeddings")
        is_own = self._chat_url.host.endswith(_OWN_HOSTS)
        # A part's JSON is read in one go: text takes 30 ms for 128 vectors of 1,536, base64 2 ms
        self.embed_items, self.embed_tokens = (2_048, 300_000) if is_own else (128, 100_000)
        self._encoding = "base64" if is_own else "float"  # not every server knows base64
        self._max_tokens_field = "max_completion_tokens" if is_own else "max_tokens"

    @staticmethod
    def key_headers(api_key: str | None) -> dict[str, str]:
        return {"authorization": f"Bearer {api_key}"} if api_key else {}

    def render_chat(self, request: ChatRequest, model: str, *, stream: bool = False) -> HttpCall:
        body = chat_body(request, model, self._max_tokens_field, stream=stream)
        return HttpCall(self._chat_url, self._headers, to_json(body))

    def parse_chat(self, body: bytes | dict[str, Any], headers: Headers, model: str) -> ChatAnswer:
        reply = self._read(ChatReply, body, headers, model)
        if not reply.choices or reply.choices[0].error:
            told = {"error": reply.choices[0].error} if reply.choices else body
            raise self._no_answer(told, "there are no choices in it", headers, model)
        return self.finished(read_reply(reply, reply.choices[0], model), headers, model)

    def read_event(self, data: dict[str, Any], headers: Headers, model: str) -> Delta | ChatAnswer:
        choice = first(data.get("choices"))
        if error := choice.get("error"):
            raise self.told(error, headers, model)
        if "message" in choice and "delta" not in choice:
            return self.parse_chat(data, headers, model)
        return read_chunk(data, choice)

    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        return HttpCall(self._embed_url, self._headers, to_json(embed_body(request, model, self._encoding)))

    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        reply = self._read(EmbeddingsReply, body, headers, model)
        if not reply.data:
            raise self._no_answer(body, "there are no data in it", headers, model)
        vectors = [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
        return EmbedAnswer(vectors, reply.model or model, read_embed_usage(reply.usage))


DIALECT = OpenAI
