"""A conversation in the neutral form → Anthropic's turns."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from client.wire.schemas import Message, is_blank
from promptmill.dialects.base import CannotSay
from promptmill.dialects.neutral import of_today, read_arguments, read_image, without_blanks

Block = dict[str, Any]
Content = str | list[dict[str, Any]] | None

_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")


class _Turn(NamedTuple):
    role: str
    content: str | list[Block]
    results: list[Block]  # of tools; they come first


class _CallIds:
    """The ids of the calls: of the characters that the API takes, and each once in a conversation, whatever those were
    that made them up. A result has the id of its call."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, str] = {}  # by the same: the call that had one last
        self._open: dict[str, deque[str]] = {}  # by the id as it was told: the calls that wait for a result

    def of_call(self, told: Any) -> str:
        name = _NOT_IN_AN_ID.sub("_", str(told)) or "call"
        sent, number = name, 1
        while sent in self._taken:
            number += 1
            sent = f"{name}_{number}"
        self._taken.add(sent)
        self._open.setdefault(str(told), deque()).append(sent)
        return sent

    def of_result(self, told: Any) -> Any:
        if waiting := self._open.get(str(told)):
            self._last[str(told)] = waiting.popleft()
        return self._last.get(
            str(told), told
        )  # that of no call is the provider's to explain, so None goes out, too


def turns_of(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The turns, without those of nothing. What stands between a call and the model's next words is one turn: the
    results of all calls, then the rest. Raises CannotSay."""
    ids, turns, is_begun = _CallIds(), list[_Turn](), False
    for message in of_today(messages):
        turn, last = _turn(message, ids), turns[-1] if turns else None
        if turn is None:
            continue
        is_begun |= turn.role == "assistant"
        if is_begun and last and last.role == turn.role == "user" and (last.results or turn.results):
            content = [*blocks(last.content), *blocks(turn.content)]
            turns[-1] = _Turn("user", content, last.results + turn.results)
        else:
            turns.append(turn)
    return [
        {
            "role": turn.role,
            "content": [*turn.results, *blocks(turn.content)] if turn.results else turn.content,
        }
        for turn in turns
    ]


def blocks(content: Content) -> list[Block]:
    """A content as blocks; none for a blank one."""
    if is_blank(content):
        return []
    return without_blanks(content) if isinstance(content, list) else [{"type": "text", "text": content}]


def _turn(message: Message, ids: _CallIds) -> _Turn | None:
    """A message has a role and a content only: what else OpenAI's have, such as `name` or `refusal`, is a 400."""
    extra = message.model_extra or {}
    content = _translated(message.content)
    if message.role == "tool":
        result = {"type": "tool_result", "tool_use_id": ids.of_result(extra.get("tool_call_id"))}
        return _Turn("user", [], [{**result, **({} if is_blank(content) else {"content": content})}])
    if message.role == "assistant":
        thoughts, calls = extra.get("thinking_blocks"), extra.get("tool_calls")
        before = [_thought(t) for t in thoughts if isinstance(t, dict)] if isinstance(thoughts, list) else []
        behind = [_tool_use(call, ids) for call in calls] if isinstance(calls, list) else []
        if before or behind:
            content = [*before, *blocks(content), *behind]
        elif is_blank(content) and isinstance(extra.get("refusal"), str):
            content = extra["refusal"]
    if content is None or is_blank(content):
        if message.role == "assistant":
            return None
        raise CannotSay(
            f"takes no empty message, and there is a {message.role} message of nothing but white space"
        )
    return _Turn(message.role, content, [])


def _translated(content: Content) -> Content:
    return [_block(part) for part in without_blanks(content)] if isinstance(content, list) else content


def _block(part: dict[str, Any]) -> Block:
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


def _thought(block: Block) -> Block:
    """A block of an earlier answer's `thinking_blocks`: with calls, the API wants it back, signature and all."""
    return {name: value for name, value in block.items() if name != "index"}


def _tool_use(call: Any, ids: _CallIds) -> Block:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):  # not OpenAI's form: sent as it is, for the provider to judge
        return {"type": "tool_use", **(call if isinstance(call, dict) else {})}
    return {
        "type": "tool_use",
        "id": ids.of_call(call.get("id")),
        "name": function.get("name"),
        "input": read_arguments(function.get("arguments")),
    }
