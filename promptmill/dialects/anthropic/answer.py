"""What is in Anthropic's answers and in the events of its streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from client.wire.schemas import Usage
from promptmill.dialects.answers import (
    Delta,
    ToolCallPart,
    arguments_text,
    count,
    mapping,
    text_or_none,
)
from promptmill.dialects.endings import finish_reason
from promptmill.dialects.extra import Extra, placed, unread, unread_usage

# What is read, or says nothing of this answer: all else is kept as it came
_REPLY_FIELDS = frozenset(
    ("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage", "error")
)
_USAGE_FIELDS = frozenset(
    [
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "thinking_tokens",
    ]
)


def read_message(reply: dict[str, Any], blocks: list[Any]) -> Delta:
    """A plain answer, of the content `blocks`."""
    read = [_block(index, block) for index, block in enumerate(blocks) if isinstance(block, dict)]
    own: dict[str, list[Any]] = {}
    for delta in read:
        for name, entries in mapping((delta.extra or {}).get("message")).items():
            own.setdefault(name, []).extend(entries)
    return Delta(
        text="".join(delta.text for delta in read),
        reasoning="".join(delta.reasoning for delta in read),
        tool_calls=tuple(replace(part, index=None) for delta in read for part in delta.tool_calls),
        finish_reason=finish_reason(reply.get("stop_reason")),
        usage=_usage(reply.get("usage")),
        model=text_or_none(reply.get("model")),
        response_id=text_or_none(reply.get("id")),
        extra=_extra(reply, own),
    )


def settled(extra: Extra) -> Extra:
    """Of the blocks, those that are whole: what a stream told of its own tools' calls is in `tool_calls`, and of
    thoughts without a signature in the reasoning."""
    message = dict(extra.get("message", {}))
    blocks = [_whole(block) for block in message.pop("blocks", ()) if block.get("type")]
    thoughts = [b for b in message.pop("thinking_blocks", ()) if b.get("signature") or b.get("data")]
    message |= {"blocks": blocks} if blocks else {}
    message |= {"thinking_blocks": thoughts} if thoughts else {}
    rest = {place: fields for place, fields in extra.items() if place != "message"}
    return {**rest, "message": message} if message else rest


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    """A block whose input came in pieces."""
    if "partial_json" not in block:
        return block
    rest = {name: value for name, value in block.items() if name != "partial_json"}
    try:
        return {**rest, "input": from_json(block["partial_json"] or "{}")}
    except ValueError:
        return {**rest, "input": block["partial_json"]}


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
        extra=_extra(message, {}),
    )


def _block_start(data: dict[str, Any]) -> Delta:
    return _block(_index(data), mapping(data.get("content_block")))


def _block(index: int, block: dict[str, Any]) -> Delta:
    """A block of the content, or its beginning."""
    kind, text, thinking = block.get("type"), block.get("text"), block.get("thinking")
    if kind == "tool_use":
        arguments = arguments_text(block["input"]) if block.get("input") else ""
        call = ToolCallPart(index, text_or_none(block.get("id")), text_or_none(block.get("name")), arguments)
        return Delta(tool_calls=(call,))
    if kind in ("thinking", "redacted_thinking"):
        return _said("", thinking, thinking_blocks=[{"index": index, **block}])
    if kind != "text":
        return _said("", "", blocks=[{"index": index, **block}])
    cited = block.get("citations")
    return _said(text, "", citations=[_cited(index, one) for one in cited] if isinstance(cited, list) else [])


def _block_delta(data: dict[str, Any]) -> Delta | None:
    index, delta = _index(data), mapping(data.get("delta"))
    kind, thinking = delta.get("type"), delta.get("thinking")
    if kind == "input_json_delta":  # of a call, or of a tool that runs at the provider's side
        piece = text_or_none(delta.get("partial_json")) or ""
        extra = placed(message={"blocks": [{"index": index, "partial_json": piece}]})
        return Delta(tool_calls=(ToolCallPart(index, arguments=piece),), extra=extra)
    if kind == "signature_delta":
        return _said("", "", thinking_blocks=[{"index": index, "signature": delta.get("signature")}])
    if kind == "citations_delta":
        return _said("", "", citations=[_cited(index, delta.get("citation"))])
    if isinstance(thinking, str) and thinking:
        return _said("", thinking, thinking_blocks=[{"index": index, "thinking": thinking}])
    return Delta(delta["text"]) if text_or_none(delta.get("text")) else None


def _said(text: Any, thinking: Any, **own: list[Any]) -> Delta:
    extra = placed(message={name: entries for name, entries in own.items() if entries})
    return Delta(
        text if isinstance(text, str) else "", thinking if isinstance(thinking, str) else "", extra=extra
    )


def _cited(index: int, citation: Any) -> dict[str, Any]:
    return {"block": index, **mapping(citation)}


def _message_delta(data: dict[str, Any]) -> Delta:
    delta = mapping(data.get("delta"))
    return Delta(
        finish_reason=finish_reason(delta.get("stop_reason")),
        usage=_usage(data.get("usage")),
        extra=_extra({**delta, "usage": data.get("usage")}, {}),
    )


_EVENTS: dict[str, Callable[[dict[str, Any]], Delta | None]] = {
    "message_start": _start,
    "content_block_start": _block_start,
    "content_block_delta": _block_delta,
    "message_delta": _message_delta,
    "message_stop": lambda data: Delta(is_last=True),
}


def _extra(reply: dict[str, Any], own: dict[str, list[Any]]) -> Extra | None:
    stopped_by = reply.get("stop_sequence")
    return placed(
        message=own,
        choice={"stop_sequence": stopped_by} if stopped_by else {},
        response=unread(reply, _REPLY_FIELDS),
        usage=unread_usage(reply.get("usage"), _USAGE_FIELDS),
    )


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
