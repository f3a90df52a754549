"""A request in the form of OpenAI, which is the neutral one but for a few names."""

from __future__ import annotations

from typing import Any

from client.wire.schemas import ChatRequest, EmbedRequest

_STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
_PLAIN = {"stream": False}  # some hosts stream where it is not said


def chat_body(request: ChatRequest, model: str, max_tokens_field: str, *, stream: bool) -> dict[str, Any]:
    """The body of /chat/completions."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": m.role, "content": m.content, **(m.model_extra or {})} for m in request.messages
        ],
    }
    options = {
        max_tokens_field: request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": request.stop,
        "seed": request.seed,
        "tools": request.tools or None,
        "tool_choice": request.tool_choice,
        "response_format": request.response_format,
    }
    body.update({name: value for name, value in options.items() if value is not None})
    body |= (_STREAMED if stream else _PLAIN) | request.extra
    if body.get("stream_options", ...) is None:
        del body["stream_options"]
    return body


def embed_body(request: EmbedRequest, model: str, encoding: str) -> dict[str, Any]:
    """The body of /embeddings."""
    body: dict[str, Any] = {"model": model, "input": request.texts, "encoding_format": encoding}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body | request.extra
