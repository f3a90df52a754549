"""What is in the answers of OpenAI and of the servers that speak the same."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_core import to_json

from client.wire.schemas import Usage
from promptmill.dialects.answers import Delta, call_parts, count, mapping, output_count, text_or_none
from promptmill.dialects.base import Reply
from promptmill.dialects.endings import finish_reason
from promptmill.dialects.extra import placed, unread, unread_usage

# What is read, or says nothing of this answer: all else is kept as it came
_REPLY_FIELDS = frozenset({"id", "object", "created", "model", "choices", "usage", "error", "obfuscation"})
_CHOICE_FIELDS = frozenset({"index", "message", "delta", "finish_reason", "error"})
_WORDS = frozenset({"role", "content"})
_MESSAGE_FIELDS = frozenset({"role", "content", "tool_calls", "reasoning_content", "reasoning"})
_USAGE_FIELDS = frozenset(
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "prompt_cache_hit_tokens",
        "cache_creation_input_tokens",
    ]
)


class _Vector(Reply):
    # base64 of float32, where it was asked for
    embedding: Annotated[list[float] | str, Field(union_mode="left_to_right")]
    index: Any = None

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

    def vectors(self) -> list[list[float] | str]:
        """In the order of their texts: by their places where each has its own, else as they came. A host that asks in
        portions may count each from 0."""
        items = self.data or []
        places = [place for item in items if (place := count(item.index)) is not None]
        if len(set(places)) == len(items):
            items = [item for _, item in sorted(zip(places, items, strict=True), key=itemgetter(0))]
        return [item.embedding for item in items]


def _size_bytes(base64: str) -> int:
    return len(base64) // 4 * 3 - base64[-2:].count("=")


def read(
    reply: Mapping[str, Any], choice: Mapping[str, Any], message: Mapping[str, Any], *, whole: bool
) -> Delta:
    """A plain answer (`whole`), or an event of a stream: `message` is of the `choice`, the one that we take."""
    content, usage, reason = message.get("content"), reply.get("usage"), choice.get("finish_reason")
    calls = refusal = reasoning = None
    own: dict[str, Any] = {}
    if not message.keys() <= _WORDS:
        calls, refusal = message.get("tool_calls"), message.get("refusal")
        own = unread(message, _MESSAGE_FIELDS)
        # DeepSeek's, vLLM's and Moonshot's; OpenRouter's, Groq's and Ollama's
        reasoning = text_or_none(message.get("reasoning_content")) or text_or_none(message.get("reasoning"))
    if isinstance(content, list):
        reasoning = reasoning or _thought(content)
        if parts := [part for part in content if not _is_words(part)]:
            own["content_parts"] = parts
    return Delta(
        # a refusal (structured outputs) stands where the content would
        (content if type(content) is str else _text(content)) or text_or_none(refusal) or "",
        reasoning or "",
        tuple(call_parts(calls, whole=whole)) if calls else (),
        finish_reason(reason) if reason else None,
        read_usage(usage) if usage else None,
        text_or_none(reply.get("model")),
        text_or_none(reply.get("id")),
        is_refusal=bool(refusal),
        extra=placed(
            own,
            unread(choice, _CHOICE_FIELDS),
            unread(reply, _REPLY_FIELDS),
            unread_usage(usage, _USAGE_FIELDS) if usage else None,
        ),
    )


def _text(content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    if not isinstance(content, list):  # an object or a number, where the model was to answer in JSON
        return to_json(content).decode()
    parts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "".join(text for text in parts if isinstance(text, str))


def _is_words(part: Any) -> bool:
    """Whether it is a part of the text, or of the reasoning."""
    return not isinstance(part, dict) or part.get("type") in ("text", "thinking")


def _thought(content: list[Any]) -> str:
    """Mistral's parts: {"type": "thinking", "thinking": [{"text": …}]}."""
    return "".join(_text(part.get("thinking")) for part in content if isinstance(part, dict))


def read_usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    prompt = mapping(usage.get("prompt_tokens_details"))
    completion = mapping(usage.get("completion_tokens_details"))
    told, total = count(usage.get("prompt_tokens")), count(usage.get("total_tokens"))
    reasoning = count(completion.get("reasoning_tokens"))
    output = output_count(count(usage.get("completion_tokens")), total, told)
    return Usage(
        input_tokens=told,
        output_tokens=output if output is None or reasoning is None else max(output, reasoning),
        # the first OpenAI's, the second DeepSeek's
        cached_input_tokens=_first(prompt.get("cached_tokens"), usage.get("prompt_cache_hit_tokens")),
        # OpenRouter's; LiteLLM's
        cache_write_tokens=_first(prompt.get("cache_write_tokens"), usage.get("cache_creation_input_tokens")),
        reasoning_tokens=reasoning,
    )


def _first(one: Any, other: Any) -> int | None:
    return count(other) if (tokens := count(one)) is None else tokens


def read_embed_usage(usage: Any) -> Usage:
    """There is no field for output; it is what the total has beyond the prompt, where both are told."""
    if not isinstance(usage, dict):
        return Usage()
    prompt, total = count(usage.get("prompt_tokens")), count(usage.get("total_tokens"))
    return Usage(input_tokens=prompt, output_tokens=output_count(None, total, prompt))
