"""OpenAI's chat completions and embeddings, and the many servers that speak the same."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from client.errors import ProviderError
from client.wire.schemas import ChatRequest, EmbedRequest
from promptmill.dialects.address import address
from promptmill.dialects.answers import ChatAnswer, Delta, EmbedAnswer, Headers, HttpCall, first, mapping
from promptmill.dialects.base import Provider

from .answer import EmbeddingsReply, read, read_embed_usage
from .ask import Names, chat_body, embed_body

# Hosts that take `max_completion_tokens` for every chat model, and refuse `max_tokens` for some
_AZURE = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_OWN_HOSTS = ("api.openai.com", ".api.openai.com", *_AZURE)


class OpenAI(Provider):
    """`base_url` ends in /v1 as a rule; a key is sent if there is one.

    `max_tokens` goes out as `max_completion_tokens` to OpenAI's own and Azure's hosts, whose o-series and
    gpt-5 know no other name, and as `max_tokens` to every other host, where it is the name all know. The role
    `developer` goes out as `system` to those. Where that is wrong and the refusal says so, the other name is tried
    once and remembered.

    Vectors are asked for in base64 where that is known to work, at the same hosts. With
    `extra={"encoding_format": "base64"}` any other is asked so, too.

    A stream is asked for with `stream_options: {"include_usage": true}`, or it would not tell its tokens. A
    host that refuses the field gets none with `extra={"stream_options": None}`.
    """

    kind = "openai"

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        super().__init__(name, base_url, api_key, key_variable)
        self._chat_url = address(base_url, "/chat/completions")
        self._embed_url = address(base_url, "/embeddings")
        is_own = self._chat_url.host.endswith(_OWN_HOSTS)
        # A part's JSON is read in one go: text takes 30 ms for 128 vectors of 1,536, base64 2 ms
        self.embed_items, self.embed_tokens = (2_048, 300_000) if is_own else (128, 100_000)
        self._encoding = "base64" if is_own else "float"  # not every server knows base64
        self._names = Names("max_completion_tokens", "developer", is_own) if is_own else Names()
        self._learned: dict[str, Names] = {}  # by model

    @staticmethod
    def key_headers(api_key: str | None) -> dict[str, str]:
        return {"authorization": f"Bearer {api_key}"} if api_key else {}

    def render_chat(self, request: ChatRequest, model: str, *, stream: bool = False) -> HttpCall:
        names, extra = self._learned.get(model, self._names), self.extra_of(request)
        body = chat_body(request, model, names, extra, stream=stream)
        return HttpCall(self._chat_url, self._headers, to_json(body))

    def learn(self, refusal: ProviderError, model: str) -> None:
        if model not in self._learned and (names := self._names.corrected(refusal)) != self._names:
            self._learned[model] = names

    def parse_chat(self, body: bytes | dict[str, Any], headers: Headers, model: str) -> ChatAnswer:
        reply = self._read_object(body, headers, model)
        choice = first(reply.get("choices"))
        message = choice.get("message")
        if choice.get("error") or not isinstance(message, dict):
            told, lacks = (
                {"error": choice["error"]} if choice.get("error") else reply,
                "message" if choice else "choice",
            )
            raise self._no_answer(told, f"there is no {lacks} in it", headers, model)
        return self.finished(read(reply, choice, message, whole=True).answer(model), headers, model)

    def read_event(self, data: dict[str, Any], headers: Headers, model: str) -> Delta | ChatAnswer:
        choice = first(data.get("choices"))
        if error := choice.get("error"):
            raise self.told(error, headers, model)
        if "message" in choice and "delta" not in choice:
            return self.parse_chat(data, headers, model)
        return read(data, choice, mapping(choice.get("delta")), whole=False)

    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        return HttpCall(
            self._embed_url,
            self._headers,
            to_json(embed_body(request, model, self._encoding, self.extra_of(request))),
        )

    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        reply = self._read(EmbeddingsReply, body, headers, model)
        if not reply.data:
            raise self._no_answer(body, "there are no data in it", headers, model)
        return EmbedAnswer(reply.vectors(), reply.model or model, read_embed_usage(reply.usage))


DIALECT = OpenAI
