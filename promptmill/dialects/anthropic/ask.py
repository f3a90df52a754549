"""The neutral request, its messages, tools and tool calls, in Anthropic's form."""

from __future__ import annotations

from typing import Any

from client.wire.schemas import ChatRequest, Message
from promptmill.dialects.base import CannotSay
from promptmill.dialects.neutral import function_of, read_arguments, read_choice, read_format, read_image

DEFAULT_MAX_TOKENS = 4_096  # the API requires a limit; every Claude model can write this many

_System = str | list[dict[str, Any]] | None
_MODES = {"auto": "auto", "none": "none", "required": "any"}


def chat_body(request: ChatRequest, model: str) -> dict[str, Any]:
    """The body of /messages, without `extra`. Raises CannotSay."""
    system, messages = _split_system(request.messages)
    choice, wanted = request.tool_choice, request.response_format
    options = {
        "system": system,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop_sequences": [request.stop] if isinstance(request.stop, str) else request.stop,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(choice) if choice is not None else None,
        "output_config": _output_config(wanted) if wanted is not None else None,
    }
    return {
        "model": model,
        "max_tokens": request.max_tokens or DEFAULT_MAX_TOKENS,
        "messages": messages,
        **{name: value for name, value in options.items() if value is not None},
    }


def _split_system(messages: list[Message]) -> tuple[_System, list[dict[str, Any]]]:
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


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A function as a tool with an `input_schema`; what else it has, such as `strict`, is kept."""
    function = function_of(tool)
    if function is None:
        return tool
    rest = {name: value for name, value in function.items() if name != "parameters" and value is not None}
    more = {name: value for name, value in tool.items() if name not in ("type", "function")}
    return {**rest, "input_schema": function.get("parameters") or {"type": "object"}, **more}


def _tool_choice(choice: str | dict[str, Any]) -> dict[str, Any]:
    """`required` is Anthropic's `any`, a function its `tool`."""
    read = read_choice(choice)
    if read is None:
        assert isinstance(choice, dict)  # a word is always read, or refused
        return choice
    return {"type": "tool", "name": read.name} if read.name else {"type": _MODES[read.mode]}


def _output_config(response_format: dict[str, Any]) -> dict[str, Any] | None:
    """A JSON schema as `output_config.format`."""
    is_json, schema = read_format(response_format)
    if not is_json:
        return None
    if schema is None:
        raise CannotSay("has no JSON mode without a schema: use a response_format of type json_schema")
    return {"format": {"type": "json_schema", "schema": schema}}


def _turn(message: Message) -> dict[str, Any]:
    """A message has a role and a content only: what else OpenAI's have, such as `name` or `refusal`, is a 400."""
    extra = message.model_extra or {}
    content = _translated(message.content)
    if message.role == "tool":
        # a refused tool_call_id is the provider's to explain, so None goes out too
        result = {"type": "tool_result", "tool_use_id": extra.get("tool_call_id"), "content": content}
        return {"role": "user", "content": [result]}
    calls = extra.get("tool_calls")
    if isinstance(calls, list) and calls:
        content = [*_blocks(content), *(_tool_use(call) for call in calls)]
    return {"role": message.role, "content": content}


def _translated(content: str | list[dict[str, Any]] | None) -> str | list[dict[str, Any]] | None:
    return [_block(part) for part in content] if isinstance(content, list) else content


def _block(part: dict[str, Any]) -> dict[str, Any]:
    """Parts of OpenAI's that Anthropic has another name for; every other is sent as it is."""
    if part.get("type") != "image_url":
        return part
    image = read_image(part)
    source = (
        {"type": "url", "url": image.url}
        if image.url
        else {"type": "base64", "media_type": image.media_type, "data": image.data}
    )
    more = {name: value for name, value in part.items() if name not in ("type", "image_url")}
    return {"type": "image", "source": source, **more}


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
        "input": read_arguments(function.get("arguments")),
    }
