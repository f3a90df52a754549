"""The neutral messages of a ChatRequest, in Anthropic's form, and its tool calls in the neutral one."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json

from client.schemas import Message

_System = str | list[dict[str, Any]] | None


def split_system(messages: list[Message]) -> tuple[_System, list[dict[str, Any]]]:
    """The system (and developer) messages as `system`, and the others in their order.

    Plain texts are joined by an empty line; if one has parts, all become parts, so that a part's
    `cache_control` survives.
    """
    contents = [m.content for m in messages if m.role in ("system", "developer") and m.content]
    turns = [_turn(m) for m in messages if m.role not in ("system", "developer")]
    texts = [content for content in contents if isinstance(content, str)]
    if not contents:
        return None, turns
    if len(texts) == len(contents):
        return "\n\n".join(texts), turns
    return [block for content in contents for block in _blocks(content)], turns


def to_tool_call(call_id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    """A `tool_use` block as an entry of `tool_calls`."""
    function = {"name": name, "arguments": to_json(arguments if arguments is not None else {}).decode()}
    return {"id": call_id, "type": "function", "function": function}


def _turn(message: Message) -> dict[str, Any]:
    extra = dict(message.model_extra or {})
    if message.role == "tool":
        # a refused tool_call_id is the provider's to explain, so None goes out too
        result = {"type": "tool_result", "tool_use_id": extra.get("tool_call_id"), "content": message.content}
        return {"role": "user", "content": [result]}
    calls = extra.pop("tool_calls", None)
    if isinstance(calls, list) and calls:
        return {
            "role": message.role,
            "content": [*_blocks(message.content), *(_tool_use(call) for call in calls)],
            **extra,
        }
    return {"role": message.role, "content": message.content, **extra}


def _blocks(content: str | list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _tool_use(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):  # not OpenAI's form: sent as it is, for the provider to judge
        return {"type": "tool_use", **(call if isinstance(call, dict) else {})}
    return {
        "type": "tool_use",
        "id": call.get("id"),
        "name": function.get("name"),
        "input": _arguments(function.get("arguments")),
    }


def _arguments(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments or {}
    try:
        return from_json(arguments or "{}")
    except ValueError:  # a model wrote them; the provider only takes JSON
        return {"arguments": arguments}
