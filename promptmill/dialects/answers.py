"""What goes out to a provider and what comes back, in the neutral form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import httpx

from client.wire.schemas import Usage

Headers = Mapping[str, str]  # looked up case-insensitively, as httpx.Headers are


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


class CallNumbers:
    """Numbers the tool calls of one stream from 0, whatever their provider's indexes are.

    Anthropic counts all blocks. Some hosts give every call the index 0, or none: there, a name with another id
    begins another call. One that only changes the id (vLLM's, with every piece) begins none.
    """

    def __init__(self) -> None:
        self._ids: list[str | None] = []  # of the calls, by their numbers
        self._numbers: dict[int | None, int] = {}  # by index, of the last call that began with it

    def of(self, parts: Iterable[ToolCallPart]) -> tuple[ToolCallPart, ...]:
        """The parts with their calls' numbers, without those of what never began as a call: Anthropic streams
        the input of tools that run at its side, too."""
        return tuple(numbered for part in parts if (numbered := self._numbered(part)) is not None)

    def _numbered(self, part: ToolCallPart) -> ToolCallPart | None:
        number = None if part.index is None else self._numbers.get(part.index)
        if number is not None and not self._is_another(number, part):
            self._ids[number] = self._ids[number] or part.id
            return replace(part, index=number)
        if not (part.id or part.name):
            return None
        number = self._numbers[part.index] = len(self._ids)
        call_id = part.id or (f"call_{number}" if part.index is None else None)  # as `join_calls` does
        self._ids.append(call_id)
        return replace(part, index=number, id=call_id)

    def _is_another(self, number: int, part: ToolCallPart) -> bool:
        return bool(part.name and part.id and self._ids[number]) and part.id != self._ids[number]


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


def first(answers: Any) -> dict[str, Any]:
    """The first of the answers, which `extra` may ask several of: in a stream, they come side by side."""
    for answer in answers if isinstance(answers, list) else ():
        if isinstance(answer, dict) and not answer.get("index"):
            return answer
    return {}


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object; an empty one for anything that is none."""
    return value if isinstance(value, dict) else {}


def text_or_none(value: Any) -> str | None:
    """A text that says something; None for anything that is none."""
    return value if isinstance(value, str) and value else None
