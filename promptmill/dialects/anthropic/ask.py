"""The neutral request, its tools and its format, in Anthropic's form."""

from __future__ import annotations

from typing import Any

from client.wire.schemas import ChatRequest, Message, is_blank
from promptmill.dialects.base import CannotSay
from promptmill.dialects.neutral import function_of, read_choice, read_format

from .turns import blocks, turns_of

DEFAULT_MAX_TOKENS = 4_096  # the API requires a limit; every Claude model can write this many

_SYSTEM = ("system", "developer")
_System = str | list[dict[str, Any]] | None
_MODES = {"auto": "auto", "none": "none", "required": "any"}


def chat_body(request: ChatRequest, model: str) -> dict[str, Any]:
    """The body of /messages, without `extra`. Raises CannotSay."""
    choice, wanted = request.tool_choice, request.response_format
    options = {
        "system": _system(request.messages),
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
        "messages": turns_of(m for m in request.messages if m.role not in _SYSTEM),
        **{name: value for name, value in options.items() if value is not None},
    }


def _system(messages: list[Message]) -> _System:
    """The system (and developer) messages, without blank ones.

    Plain texts are joined by an empty line; if one has parts, all become parts, so that a part's
    `cache_control` survives.
    """
    contents = [m.content for m in messages if m.role in _SYSTEM and not is_blank(m.content)]
    texts = [content for content in contents if isinstance(content, str)]
    if len(texts) == len(contents):
        return "\n\n".join(texts) or None
    return [block for content in contents for block in blocks(content)]


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
