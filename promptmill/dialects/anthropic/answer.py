"""What is in Anthropic's answers and in the events of its streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import to_json

from client.wire.schemas import Usage
from promptmill.dialects.answers import ChatAnswer, Delta, ToolCallPart, count, mapping, text_or_none
from promptmill.dialects.base import Reply

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class Block(Reply):
    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class MessageReply(Reply):
    content: list[Block] | None = None  # empty after a turn that needed no words
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: Any = None


def read_message(reply: MessageReply, blocks: list[Block], model: str) -> ChatAnswer:
    """A plain answer, of the content `blocks`."""
    return ChatAnswer(
        text="".join(block.text or "" for block in blocks if block.type == "text"),
        finish_reason=_finish_reason(reply.stop_reason),
        model=reply.model or model,
        usage=_usage(reply.usage),
        tool_calls=[_tool_call(b.id, b.name, b.input) for b in blocks if b.type == "tool_use"],
        response_id=reply.id,
        reasoning="".join(b.thinking or "" for b in blocks if b.type == "thinking") or None,
    )


def _finish_reason(reason: Any) -> str | None:
    """Our name for a `stop_reason`, or Anthropic's own."""
    return _FINISH_REASONS.get(reason, reason) if isinstance(reason, str) else None


def read_event(data: dict[str, Any]) -> Delta | None:
    """What an event adds; None for those that add nothing, such as `ping`, and for those not known yet."""
    read = _EVENTS.get(str(data.get("type")))
    return read(data) if read else None


def _start(data: dict[str, Any]) -> Delta:
    message = mapping(data.get("message"))
    return Delta(
        usage=_usage(message.get("usage")),
        model=text_or_none(message.get("model")),
        response_id=text_or_none(message.get("id")),
    )


def _block_start(data: dict[str, Any]) -> Delta | None:
    block = mapping(data.get("content_block"))
    if block.get("type") != "tool_use":
        return _content(block.get("text"), block.get("thinking"))
    arguments = to_json(block["input"]).decode() if block.get("input") else ""
    part = ToolCallPart(
        _index(data), text_or_none(block.get("id")), text_or_none(block.get("name")), arguments
    )
    return Delta(tool_calls=(part,))


def _block_delta(data: dict[str, Any]) -> Delta | None:
    """Signatures and citations add nothing that we keep."""
    delta = mapping(data.get("delta"))
    if delta.get("type") == "input_json_delta":
        return Delta(
            tool_calls=(ToolCallPart(_index(data), arguments=text_or_none(delta.get("partial_json")) or ""),)
        )
    return _content(delta.get("text"), delta.get("thinking"))


def _message_delta(data: dict[str, Any]) -> Delta:
    return Delta(
        finish_reason=_finish_reason(mapping(data.get("delta")).get("stop_reason")),
        usage=_usage(data.get("usage")),
    )


_EVENTS: dict[str, Callable[[dict[str, Any]], Delta | None]] = {
    "message_start": _start,
    "content_block_start": _block_start,
    "content_block_delta": _block_delta,
    "message_delta": _message_delta,
    "message_stop": lambda data: Delta(is_last=True),
}


def _tool_call(call_id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    """A `tool_use` block as an entry of `tool_calls`."""
    function = {"name": name, "arguments": to_json(arguments if arguments is not None else {}).decode()}
    return {"id": call_id, "type": "function", "function": function}


def _content(text: Any, thinking: Any) -> Delta | None:
    text = text if isinstance(text, str) else ""
    thinking = thinking if isinstance(thinking, str) else ""
    return Delta(text, thinking) if text or thinking else None


def _index(data: dict[str, Any]) -> int:
    index = data.get("index")
    return index if isinstance(index, int) else 0


def _usage(usage: Any) -> Usage:
    """Anthropic's `input_tokens` are only those that met no cache: the total is input + read + created."""
    if not isinstance(usage, dict):
        return Usage()
    fresh = count(usage.get("input_tokens"))
    read = count(usage.get("cache_read_input_tokens"))
    created = count(usage.get("cache_creation_input_tokens"))
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (created or 0),
        output_tokens=count(usage.get("output_tokens")),
        cached_input_tokens=read,
        cache_write_tokens=created,
        reasoning_tokens=count(mapping(usage.get("output_tokens_details")).get("thinking_tokens")),
    )
