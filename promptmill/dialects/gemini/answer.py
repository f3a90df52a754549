"""What is in Gemini's answers; an event of a stream has the form of a whole one."""

from __future__ import annotations

from typing import Any

from client.wire.schemas import Usage
from promptmill.dialects.answers import (
    Delta,
    ToolCallPart,
    arguments_text,
    count,
    first,
    mapping,
    output_count,
    text_or_none,
)
from promptmill.dialects.base import Reply
from promptmill.dialects.endings import finish_reason
from promptmill.dialects.extra import placed, unread, unread_usage

# What is read, or says nothing of this answer: all else is kept as it came
_REPLY_FIELDS = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "error"})
_IN_PIECES = ("logprobsResult", "citationMetadata")  # an event of a stream has its own
_CANDIDATE_FIELDS = frozenset({"content", "finishReason", "index", *_IN_PIECES})
_BARE = _CANDIDATE_FIELDS.difference(_IN_PIECES)
_WORDS = frozenset({"text", "thought"})
_USAGE_FIELDS = frozenset(
    [
        "promptTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "toolUsePromptTokenCount",
        "cachedContentTokenCount",
        "totalTokenCount",
    ]
)
BAD_CALLS = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL")  # the model's mistake: ask again


class _Vector(Reply):
    values: list[float]


class BatchEmbedReply(Reply):
    embeddings: list[_Vector] | None = None
    usageMetadata: Any = None


def read_answer(reply: dict[str, Any]) -> Delta:
    """What an answer or an event adds."""
    candidate, usage = first(reply.get("candidates")), reply.get("usageMetadata")
    text, thought, calls, own = _read_parts(mapping(candidate.get("content")).get("parts"))
    response, pieces = unread(reply, _REPLY_FIELDS), {}
    if not candidate.keys() <= _BARE:
        response |= unread(candidate, _CANDIDATE_FIELDS)
        pieces = {name: candidate[name] for name in _IN_PIECES if candidate.get(name)}
    return Delta(
        text,
        thought,
        calls,
        finish_reason(candidate.get("finishReason")),
        read_usage(usage) if usage else None,
        text_or_none(reply.get("modelVersion")),
        text_or_none(reply.get("responseId")),
        extra=placed(own, pieces, response, unread_usage(usage, _USAGE_FIELDS)),
    )


def _read_parts(told: Any) -> tuple[str, str, tuple[ToolCallPart, ...], dict[str, Any]]:
    """What the parts say, what they think, and their calls; and what they hold beside those: images, code and what it
    gave, and signatures."""
    said: list[str] = []
    thought: list[str] = []
    calls: list[ToolCallPart] = []
    own: dict[str, Any] = {}
    for part in told if isinstance(told, list) else ():
        if not isinstance(part, dict):
            continue
        if isinstance(text := part.get("text"), str):
            (thought if part.get("thought") else said).append(text)
        if part.keys() <= _WORDS:
            continue
        if call := _call(part):
            calls.append(call)
        if "functionCall" not in part and (rest := unread(part, _WORDS)):
            own.setdefault("signatures" if rest.keys() == {"thoughtSignature"} else "parts", []).append(rest)
    return "".join(said), "".join(thought), tuple(calls), own


def _call(part: dict[str, Any]) -> ToolCallPart | None:
    """A `functionCall` part, always a whole call. Its signature is kept where Google's OpenAI endpoint keeps
    it, and sent back with the call: Gemini 3 refuses a call of its own without it."""
    call = part.get("functionCall")
    if not isinstance(call, dict):
        return None
    signature = part.get("thoughtSignature")
    return ToolCallPart(
        id=text_or_none(call.get("id")),
        name=text_or_none(call.get("name")),
        arguments=arguments_text(call.get("args") or {}),
        more={"extra_content": {"google": {"thought_signature": signature}}} if signature else None,
    )


def read_usage(usage: Any) -> Usage:
    """Google leaves out what is 0, and counts thoughts and what tools put in apart."""
    if not isinstance(usage, dict):
        return Usage()
    prompt, tools = count(usage.get("promptTokenCount")), count(usage.get("toolUsePromptTokenCount"))
    said, thought = count(usage.get("candidatesTokenCount")), count(usage.get("thoughtsTokenCount"))
    put_in = None if prompt is None else prompt + (tools or 0)
    told = None if said is None and thought is None else (said or 0) + (thought or 0)
    return Usage(
        input_tokens=put_in,
        output_tokens=output_count(told, count(usage.get("totalTokenCount")), put_in),
        cached_input_tokens=count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thought,
    )
