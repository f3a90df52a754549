"""OpenAI's chat completions and embeddings, and the many servers that speak the same."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic_core import to_json

from client.errors import ProviderError
from client.schemas import ChatRequest, EmbedRequest, Usage

from .base import ChatAnswer, EmbedAnswer, Headers, HttpCall, Provider, Reply, count
from .sentences import refuse

# Hosts that take `max_completion_tokens` for every chat model, and refuse `max_tokens` for some
_OWN_HOSTS = ("api.openai.com", ".api.openai.com", ".openai.azure.com")


class OpenAI(Provider):
    """`base_url` ends in /v1 as a rule; a key is sent if there is one.

    `max_tokens` goes out as `max_completion_tokens` to OpenAI's own and Azure's hosts, whose o-series and
    gpt-5 know no other name, and as `max_tokens` to every other host, where it is the name all know. Where
    that is wrong, leave `max_tokens` unset and put the right field into `extra`.
    """

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        super().__init__(name, base_url, api_key, key_variable)
        self._chat_url = httpx.URL(f"{base_url}/chat/completions")
        self._embed_url = httpx.URL(f"{base_url}/embeddings")
        self._headers = {"content-type": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        is_own = self._chat_url.host.endswith(_OWN_HOSTS)
        self._max_tokens_field = "max_completion_tokens" if is_own else "max_tokens"

    def render_chat(self, request: ChatRequest, model: str) -> HttpCall:
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
        }
        body.update({name: value for name, value in options.items() if value is not None})
        return HttpCall(self._chat_url, self._headers, to_json(body | request.extra))

    def parse_chat(self, body: bytes, headers: Headers, model: str) -> ChatAnswer:
        reply = self._read(_Chat, body, headers, model)
        if not reply.choices:
            raise self._no_answer(reply.error, "no choices", headers, model)
        choice = reply.choices[0]
        message = choice.message
        return ChatAnswer(
            # a refusal (structured outputs) stands where the content would
            text=_text(message.content) or message.refusal or "",
            finish_reason="content_filter" if message.refusal else choice.finish_reason,
            model=reply.model or model,
            usage=_usage(reply.usage),
            tool_calls=message.tool_calls or [],
            response_id=reply.id,
        )

    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        body: dict[str, Any] = {"model": model, "input": request.texts, "encoding_format": "float"}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return HttpCall(self._embed_url, self._headers, to_json(body | request.extra))

    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        reply = self._read(_Embeddings, body, headers, model)
        if not reply.data:
            raise self._no_answer(reply.error, "no data", headers, model)
        vectors = [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
        return EmbedAnswer(vectors, reply.model or model, _embed_usage(reply.usage))

    def map_error(self, status: int, headers: Headers, body: bytes, model: str) -> ProviderError:
        return refuse(self, status, headers, body, model)

    def _no_answer(self, error: Any, missing: str, headers: Headers, model: str) -> ProviderError:
        """OpenRouter and others put an upstream's refusal into a 200."""
        if not isinstance(error, dict):
            return self._malformed(f"there are {missing} in it", headers, model)
        code = error.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        return refuse(self, status, headers, to_json({"error": error}), model)


class _Message(Reply):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(Reply):
    message: _Message
    finish_reason: str | None = None


class _Chat(Reply):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


class _Vector(Reply):
    embedding: list[float]
    index: int = 0


class _Embeddings(Reply):
    model: str | None = None
    data: list[_Vector] | None = None
    usage: Any = None
    error: Any = None


def _text(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content or ""


def _usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return Usage(
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        cached_input_tokens=count(prompt.get("cached_tokens")) if isinstance(prompt, dict) else None,
        reasoning_tokens=count(completion.get("reasoning_tokens")) if isinstance(completion, dict) else None,
    )


def _embed_usage(usage: Any) -> Usage:
    """There is no field for output; it is what the total has beyond the prompt, where both are told."""
    if not isinstance(usage, dict):
        return Usage()
    prompt, total = count(usage.get("prompt_tokens")), count(usage.get("total_tokens"))
    output = max(0, total - prompt) if prompt is not None and total is not None else None
    return Usage(input_tokens=prompt, output_tokens=output)
