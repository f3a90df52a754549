"""What is in the answers of OpenAI and of the servers that speak the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, field_validator

from client.wire.schemas import Usage
from promptmill.dialects.answers import ChatAnswer, Delta, ToolCallPart, count, mapping, text_or_none
from promptmill.dialects.base import Reply

_CALL_FIELDS = ("index", "id", "type", "function")


class _Message(Reply):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning_content: Any = None  # DeepSeek, vLLM, Moonshot
    reasoning: Any = None  # OpenRouter, Groq, Ollama


class Choice(Reply):
    message: _Message
    finish_reason: str | None = None
    error: Any = None  # OpenRouter's, where the model failed in the middle


class ChatReply(Reply):
    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Any = None


class _Vector(Reply):
    # base64 of float32, where it was asked for
    embedding: Annotated[list[float] | str, Field(union_mode="left_to_right")]
    index: int = 0

    @field_validator("embedding")
    @classmethod
    def _is_whole(cls, embedding: list[float] | str) -> list[float] | str:
        if isinstance(embedding, str) and (len(embedding) % 4 or _size_bytes(embedding) % 4):
            raise ValueError("it is no base64 of float32 numbers")
        return embedding


class EmbeddingsReply(Reply):
    model: str | None = None
    data: list[_Vector] | None = None
    usage: Any = None


def _size_bytes(base64: str) -> int:
    return len(base64) // 4 * 3 - base64[-2:].count("=")


def read_reply(reply: ChatReply, choice: Choice, model: str) -> ChatAnswer:
    """A plain answer, of which `choice` is the one we take."""
    message = choice.message
    return ChatAnswer(
        # a refusal (structured outputs) stands where the content would
        text=_text(message.content) or message.refusal or "",
        finish_reason="content_filter" if message.refusal else choice.finish_reason,
        model=reply.model or model,
        usage=read_usage(reply.usage),
        tool_calls=message.tool_calls or [],
        response_id=reply.id,
        reasoning=_reasoning(message.reasoning_content, message.reasoning, message.content) or None,
    )


def read_chunk(chunk: dict[str, Any], choice: dict[str, Any]) -> Delta:
    """An event of a stream, of which `choice` is the one we take."""
    delta = mapping(choice.get("delta"))
    content, refusal, calls = delta.get("content"), delta.get("refusal"), delta.get("tool_calls")
    return Delta(
        text=(refusal if isinstance(refusal, str) else "") or _text(content),
        reasoning=_reasoning(delta.get("reasoning_content"), delta.get("reasoning"), content),
        tool_calls=tuple(_call_parts(calls)) if calls else (),
        finish_reason=text_or_none(choice.get("finish_reason")),
        usage=read_usage(chunk["usage"]) if chunk.get("usage") else None,
        model=text_or_none(chunk.get("model")),
        response_id=text_or_none(chunk.get("id")),
        is_refusal=bool(refusal),
    )


def _text(content: Any) -> str:
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in parts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _reasoning(reasoning_content: Any, reasoning: Any, content: Any) -> str:
    """The field of the one or the other, or Mistral's parts: {"type": "thinking", "thinking": [{"text": …}]}."""
    for told in (reasoning_content, reasoning):
        if isinstance(told, str) and told:
            return told
    if not isinstance(content, list):
        return ""
    return "".join(_text(part.get("thinking")) for part in content if isinstance(part, dict))


def _call_parts(calls: Any) -> Iterator[ToolCallPart]:
    for position, call in enumerate(calls if isinstance(calls, list) else ()):
        if not isinstance(call, dict):
            continue
        function = mapping(call.get("function"))
        more = {name: value for name, value in call.items() if name not in _CALL_FIELDS}
        index = call.get("index")
        yield ToolCallPart(
            index=index if isinstance(index, int) else position,
            id=text_or_none(call.get("id")),
            name=text_or_none(function.get("name")),
            arguments=text_or_none(function.get("arguments")) or "",
            more=more or None,
        )


def read_usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    prompt = mapping(usage.get("prompt_tokens_details"))
    completion = mapping(usage.get("completion_tokens_details"))
    return Usage(
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        # the first OpenAI's, the second DeepSeek's
        cached_input_tokens=_first(prompt.get("cached_tokens"), usage.get("prompt_cache_hit_tokens")),
        # OpenRouter's; LiteLLM's
        cache_write_tokens=_first(prompt.get("cache_write_tokens"), usage.get("cache_creation_input_tokens")),
        reasoning_tokens=count(completion.get("reasoning_tokens")),
    )


def _first(*told: Any) -> int | None:
    return next((tokens for value in told if (tokens := count(value)) is not None), None)


def read_embed_usage(usage: Any) -> Usage:
    """There is no field for output; it is what the total has beyond the prompt, where both are told."""
    if not isinstance(usage, dict):
        return Usage()
    prompt, total = count(usage.get("prompt_tokens")), count(usage.get("total_tokens"))
    output = max(0, total - prompt) if prompt is not None and total is not None else None
    return Usage(input_tokens=prompt, output_tokens=output)
