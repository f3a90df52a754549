"""Google's Gemini API: generateContent, streamGenerateContent and batchEmbedContents."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import httpx
from pydantic_core import to_json

from client.errors import ProviderError
from client.wire.schemas import ChatRequest, EmbedRequest, Usage
from promptmill.dialects.answers import (
    ChatAnswer,
    Delta,
    EmbedAnswer,
    HttpCall,
    count,
    first,
    join_calls,
    mapping,
    text_or_none,
)
from promptmill.dialects.base import CannotSay, Headers, Provider, Reply
from promptmill.dialects.neutral import read_format
from promptmill.dialects.refuse import refuse
from promptmill.dialects.sse import Event

from .ask import read_call, to_contents, to_tool_config, to_tools

_URLS = 256  # addresses remembered: one a model and verb; callers choose the models

_FILTERED = (
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MODEL_ARMOR",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
)
_FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length", **dict.fromkeys(_FILTERED, "content_filter")}
_BAD_CALLS = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL")  # the model's mistake: ask again


class Gemini(Provider):
    """`base_url` ends in /v1beta. In `extra`, the fields of `generationConfig` join those we set; for
    embeddings, `extra` holds fields of each text's request, such as `taskType`."""

    def __init__(self, name: str, base_url: str, api_key: str | None, key_variable: str) -> None:
        super().__init__(name, base_url, api_key, key_variable)
        self._url: Callable[[str, str], httpx.URL] = lru_cache(_URLS)(self._url_of)
        self._headers = {"content-type": "application/json"}
        if api_key:
            self._headers["x-goog-api-key"] = api_key

    def render_chat(self, request: ChatRequest, model: str, *, stream: bool = False) -> HttpCall:
        try:
            body = _render(request)
        except CannotSay as reason:
            raise self._bad_request(str(reason), model) from None
        if not body["contents"]:
            raise self._bad_request("needs at least one user message besides the system message", model)
        extra = dict(request.extra)
        if isinstance(extra.get("generationConfig"), dict):
            extra["generationConfig"] = body.get("generationConfig", {}) | extra["generationConfig"]
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return HttpCall(self._url(model, verb), self._headers, to_json(body | extra))

    def parse_chat(self, body: bytes, headers: Headers, model: str) -> ChatAnswer:
        delta = self._read_answer(body, headers, model)
        if delta.finish_reason is None and not (delta.text or delta.tool_calls or delta.reasoning):
            raise self.malformed("there are no candidates in it", headers, model)
        answer = ChatAnswer(
            text=delta.text,
            finish_reason=delta.finish_reason,
            model=delta.model or model,
            usage=delta.usage or Usage(),
            tool_calls=join_calls(delta.tool_calls),
            response_id=delta.response_id,
            reasoning=delta.reasoning or None,
        )
        return self.finished(answer, headers, model)

    def parse_event(self, event: Event, headers: Headers, model: str) -> Delta | None:
        return self._read_answer(event.data, headers, model)

    def render_embed(self, request: EmbedRequest, model: str) -> HttpCall:
        options: dict[str, Any] = {"model": _resource(model)}
        if request.dimensions is not None:
            options["outputDimensionality"] = request.dimensions
        options |= request.extra
        requests = [{**options, "content": {"parts": [{"text": text}]}} for text in request.texts]
        return HttpCall(
            self._url(model, "batchEmbedContents"), self._headers, to_json({"requests": requests})
        )

    def parse_embed(self, body: bytes, headers: Headers, model: str) -> EmbedAnswer:
        reply = self._read(_Embeddings, body, headers, model)
        if not reply.embeddings:
            raise self._no_answer(reply.error, "embeddings", headers, model)
        usage = _usage(reply.usageMetadata)
        return EmbedAnswer([vector.values for vector in reply.embeddings], model, usage)

    def map_error(self, status: int, headers: Headers, body: bytes, model: str) -> ProviderError:
        return refuse(self, status, headers, body, model)

    def _url_of(self, model: str, verb: str) -> httpx.URL:
        return httpx.URL(f"{self.base_url}/{_resource(model)}:{verb}")

    def _read_answer(self, body: bytes, headers: Headers, model: str) -> Delta:
        """A whole answer and an event of a stream have the same form."""
        reply = self._read_object(body, headers, model)
        candidates, usage = reply.get("candidates"), reply.get("usageMetadata")
        if reply.get("error"):
            raise self._no_answer(reply["error"], "candidates", headers, model)
        blocked = mapping(reply.get("promptFeedback")).get("blockReason")
        if blocked and not candidates:
            raise self.filtered(f"the prompt ({self.redact(str(blocked))})", headers, model)
        candidate = first(candidates)
        reason = text_or_none(candidate.get("finishReason"))
        told = mapping(candidate.get("content")).get("parts")
        parts = [part for part in told if isinstance(part, dict)] if isinstance(told, list) else []
        calls = tuple(call for part in parts if (call := read_call(part)))
        if reason in _BAD_CALLS and not calls:
            raise self.malformed(f"the model made a tool call that is none ({reason})", headers, model)
        return Delta(
            text=_said(parts, thought=False),
            reasoning=_said(parts, thought=True),
            tool_calls=calls,
            finish_reason=_FINISH_REASONS.get(reason, reason) if reason else None,
            usage=_usage(usage) if usage else None,
            model=text_or_none(reply.get("modelVersion")),
            response_id=text_or_none(reply.get("responseId")),
        )

    def _no_answer(self, error: Any, missing: str, headers: Headers, model: str) -> ProviderError:
        """An error that came with status 200: in a stream there is no other way to say it."""
        if not isinstance(error, dict):
            return self.malformed(f"there are no {missing} in it", headers, model)
        code = error.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
        return refuse(self, status, headers, to_json({"error": error}), model)


class _Vector(Reply):
    values: list[float]


class _Embeddings(Reply):
    embeddings: list[_Vector] | None = None
    usageMetadata: Any = None
    error: Any = None


def _render(request: ChatRequest) -> dict[str, Any]:
    system, contents = to_contents(request.messages)
    wanted = request.response_format
    is_json, schema = read_format(wanted) if wanted is not None else (False, None)
    config = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "maxOutputTokens": request.max_tokens,
        "stopSequences": [request.stop] if isinstance(request.stop, str) else request.stop,
        "seed": request.seed,
        "responseMimeType": "application/json" if is_json else None,
        # JSON schema as it is; `responseSchema` would refuse `additionalProperties`
        "responseJsonSchema": schema,
    }
    body = {
        "contents": contents,
        "systemInstruction": system,
        "tools": to_tools(request.tools) or None,
        "toolConfig": to_tool_config(request.tool_choice) if request.tool_choice is not None else None,
        "generationConfig": {name: value for name, value in config.items() if value is not None} or None,
    }
    return {name: value for name, value in body.items() if value is not None}


def _resource(model: str) -> str:
    """`models/…`, or the tuned model's own name; what a caller wrote stays one segment of the path."""
    kind, slash, name = model.partition("/")
    if not slash or kind not in ("models", "tunedModels"):
        kind, name = "models", model
    return f"{kind}/{quote(name, safe='')}"


def _said(parts: list[dict[str, Any]], *, thought: bool) -> str:
    texts = (part.get("text") for part in parts if bool(part.get("thought")) is thought)
    return "".join(text for text in texts if isinstance(text, str))


def _usage(usage: Any) -> Usage:
    """Google leaves out what is 0, and counts thoughts and what tools put in apart."""
    if not isinstance(usage, dict):
        return Usage()
    prompt, tools = count(usage.get("promptTokenCount")), count(usage.get("toolUsePromptTokenCount"))
    said, thought = count(usage.get("candidatesTokenCount")), count(usage.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=None if prompt is None else prompt + (tools or 0),
        output_tokens=None if said is None and thought is None else (said or 0) + (thought or 0),
        cached_input_tokens=count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thought,
    )
