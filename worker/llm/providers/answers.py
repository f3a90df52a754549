"""What goes out to a provider and what comes back, in the neutral form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from client.schemas import Usage


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One POST, ready to be sent."""

    url: httpx.URL
    headers: dict[str, str] = field(repr=False)  # holds the key
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What one call answered. `model` is the provider's own name for the model that did."""

    text: str
    finish_reason: str | None
    model: str
    usage: Usage
    tool_calls: list[dict[str, Any]]
    response_id: str | None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class EmbedAnswer:
    """One vector for each text, in the texts' order: numbers, or base64 of little-endian float32."""

    vectors: list[list[float] | str]
    model: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A piece of one tool call. Pieces of the same `index` belong together, and their `arguments` are joined;
    one without an index is a whole call."""

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    more: dict[str, Any] | None = None  # further fields of the call


class Delta(NamedTuple):
    """What one event of a stream adds to the answer. `usage` is of the whole stream so far: what it tells
    replaces what was told. The answer is whole once there is a `finish_reason` or the event `is_last`."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallPart, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    response_id: str | None = None
    is_refusal: bool = False  # the text is the model's refusal
    is_last: bool = False  # nothing follows


def join_calls(parts: Iterable[ToolCallPart]) -> list[dict[str, Any]]:
    """The entries of `tool_calls` that the parts make up, in the order in which they began. A call without an
    id, which only Gemini makes, gets one."""
    calls: dict[object, dict[str, Any]] = {}
    arguments: dict[object, list[str]] = {}
    for part in parts:
        key = object() if part.index is None else part.index
        call = calls.setdefault(key, {"id": None, "type": "function", "function": {"name": None}})
        call["id"] = part.id or call["id"]
        call["function"]["name"] = part.name or call["function"]["name"]
        call.update(part.more or {})
        arguments.setdefault(key, []).append(part.arguments)
    for number, (key, call) in enumerate(calls.items()):
        call["id"] = call["id"] or f"call_{number}"
        call["function"]["arguments"] = "".join(arguments[key]) or "{}"
    return list(calls.values())


def count(value: Any) -> int | None:
    """A number of tokens as the provider told it; None for anything that is not one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object; an empty one for anything that is none."""
    return value if isinstance(value, dict) else {}


def text_or_none(value: Any) -> str | None:
    """A text that says something; None for anything that is none."""
    return value if isinstance(value, str) and value else None
