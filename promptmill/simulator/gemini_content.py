"""Gemini's `generateContent` and `streamGenerateContent?alt=sse`."""

from typing import Any
from uuid import uuid4

from pydantic_core import from_json, to_json

from .config import SimulatorConfig
from .dialect import Events, HttpReply, is_positive_int, mapping, objects, parse_object
from .gemini import check_model, invalid
from .structured import Asked, answer_asked
from .text import CannedAnswer, content_text, count_tokens


def read_content(raw: bytes, config: SimulatorConfig, *, model: str, stream: bool) -> HttpReply:
    """The reply a request for content deserves; raises `Refused`."""
    body = parse_object(raw)
    if body is None:
        raise invalid("Invalid JSON payload received.")
    check_model(model)
    contents = _check_contents(body.get("contents"))
    settings = mapping(body.get("generationConfig"))
    max_tokens = settings.get("maxOutputTokens")
    if max_tokens is not None and not is_positive_int(max_tokens):
        raise invalid("Invalid value at 'generation_config.max_output_tokens'.")
    texts = [content_text(content.get("parts")) for content in contents]
    system = mapping(body.get("systemInstruction"))
    chars = sum(map(len, texts)) + len(content_text(system.get("parts")))
    input_tokens = count_tokens(chars)
    if input_tokens > config.context_tokens:
        raise invalid(
            f"The input token count ({input_tokens}) exceeds the maximum number of tokens allowed "
            f"({config.context_tokens})."
        )
    said = [text for text, content in zip(texts, contents, strict=True) if content.get("role") != "model"]
    answer = answer_asked(
        _asked(body, settings),
        next((text for text in reversed(said) if text), ""),
        is_users_turn=bool(texts[-1]),
        fill_tokens=config.output_tokens,
        max_tokens=max_tokens,
    )
    rendering = _Rendering(model, input_tokens, answer)
    return HttpReply(model, input_tokens, answer.tokens, rendering.body, rendering.events if stream else None)


def _check_contents(contents: Any) -> list[dict[str, Any]]:
    if not isinstance(contents, list) or not contents:
        raise invalid("* GenerateContentRequest.contents: contents is not specified")
    if not all(isinstance(each, dict) and isinstance(each.get("parts"), list) for each in contents):
        raise invalid("* GenerateContentRequest.contents: parts must not be empty")
    return contents


def _asked(body: dict[str, Any], settings: dict[str, Any]) -> Asked:
    tools: dict[str, Any] = {}
    for tool in objects(body.get("tools")):
        for function in objects(tool.get("functionDeclarations")):
            schema = function.get("parametersJsonSchema") or function.get("parameters")
            tools[str(function.get("name"))] = mapping(schema)
    calling = mapping(mapping(body.get("toolConfig")).get("functionCallingConfig"))
    mode, allowed = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames")
    must_call = str(allowed[0]) if isinstance(allowed, list) and allowed else ""
    return Asked(
        {} if mode == "NONE" else tools,
        must_call if mode == "ANY" else None,
        settings.get("responseMimeType") == "application/json",
        mapping(settings.get("responseJsonSchema") or settings.get("responseSchema")),
    )


class _Rendering:
    def __init__(self, model: str, input_tokens: int, answer: CannedAnswer) -> None:
        self._model = model
        self._input_tokens = input_tokens
        self._answer = answer
        self._id = uuid4().hex[:24]
        self._finish_reason = "MAX_TOKENS" if answer.is_cut else "STOP"

    def body(self) -> bytes:
        return to_json(self._chunk(self._part(self._answer.text), self._finish_reason))

    def events(self) -> Events:
        """A call is never split; every other piece is a token. The last event has the reason and the usage."""
        pieces = [self._answer.text] if self._answer.call_name else self._answer.pieces()
        tokens = [_event(self._chunk(self._part(piece))) for piece in pieces]
        return Events(b"", tokens, _event(self._chunk({"text": ""}, self._finish_reason)))

    def _part(self, piece: str) -> dict[str, Any]:
        if self._answer.call_name:
            return {"functionCall": {"name": self._answer.call_name, "args": from_json(piece)}}
        return {"text": piece}

    def _chunk(self, part: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": 0}
        if finish_reason:
            candidate["finishReason"] = finish_reason
        output_tokens = self._answer.tokens if finish_reason else 1
        usage = {
            "promptTokenCount": self._input_tokens,
            "candidatesTokenCount": output_tokens,
            "totalTokenCount": self._input_tokens + output_tokens,
        }
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": self._model,
            "responseId": self._id,
        }


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: %b\r\n\r\n" % to_json(chunk)  # Google's lines end so
