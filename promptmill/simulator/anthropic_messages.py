"""Anthropic's `POST /v1/messages`."""

from typing import Any
from uuid import uuid4

from pydantic_core import from_json, to_json

from .anthropic import error
from .config import SimulatorConfig
from .dialect import (
    UNKNOWN_MODEL_PREFIXES,
    Events,
    HttpReply,
    Refused,
    is_positive_int,
    mapping,
    objects,
    parse_object,
)
from .structured import PROSE, Asked, answer_asked
from .text import CannedAnswer, content_text, count_tokens, read_messages


def read_message(raw: bytes, config: SimulatorConfig) -> HttpReply:
    """The reply a message's body deserves; raises `Refused`."""
    body = parse_object(raw)
    if body is None:
        raise _invalid("The request body is not valid JSON.")
    messages = _check_body(body)
    chars, prompt = read_messages(messages)
    input_tokens = count_tokens(chars + len(content_text(body.get("system"))))
    if input_tokens > config.context_tokens:
        raise _invalid(f"prompt is too long: {input_tokens} tokens > {config.context_tokens} maximum")
    answer = answer_asked(
        _asked(body),
        prompt,
        is_users_turn=_is_said(messages[-1]),
        fill_tokens=config.output_tokens,
        max_tokens=body["max_tokens"],
    )
    rendering = _Rendering(body["model"], input_tokens, answer)
    events = rendering.events if body.get("stream") is True else None
    return HttpReply(body["model"], input_tokens, answer.tokens, rendering.body, events)


def _invalid(message: str) -> Refused:
    return error(400, "invalid_request_error", message)


def _check_body(body: dict[str, Any]) -> list[dict[str, Any]]:
    for field in ("model", "max_tokens", "messages"):
        if body.get(field) is None:
            raise _invalid(f"{field}: Field required")
    model, messages = body["model"], body["messages"]
    if not isinstance(model, str) or not model:
        raise _invalid("model: Input should be a valid string")
    if not is_positive_int(body["max_tokens"]):
        raise _invalid("max_tokens: Input should be a valid integer greater than or equal to 1")
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise _invalid("messages: Input should be a valid list of messages")
    if not messages:
        raise _invalid("messages: at least one message is required")
    if model.startswith(UNKNOWN_MODEL_PREFIXES):
        raise error(404, "not_found_error", f"model: {model}")
    return messages


def _is_said(message: dict[str, Any]) -> bool:
    """Whether the turn is the user's own, and not the result of a tool."""
    return message.get("role") == "user" and bool(content_text(message.get("content")))


def _asked(body: dict[str, Any]) -> Asked:
    choice, config = mapping(body.get("tool_choice")), mapping(body.get("output_config"))
    kind, wanted = choice.get("type"), mapping(config.get("format"))
    tools = [] if kind == "none" else objects(body.get("tools"))
    if not tools and not wanted:
        return PROSE
    return Asked(
        {str(tool.get("name")): mapping(tool.get("input_schema")) for tool in tools},
        str(choice.get("name")) if kind == "tool" else "" if kind == "any" else None,
        wanted.get("type") == "json_schema",
        mapping(wanted.get("schema")),
    )


class _Rendering:
    def __init__(self, model: str, input_tokens: int, answer: CannedAnswer) -> None:
        self._model = model
        self._input_tokens = input_tokens
        self._answer = answer
        self._stop_reason = "max_tokens" if answer.is_cut else "tool_use" if answer.call_name else "end_turn"

    def body(self) -> bytes:
        message = self._message()
        block = self._block()
        block |= (
            {"input": from_json(self._answer.text)} if self._answer.call_name else {"text": self._answer.text}
        )
        message["content"] = [block]
        message["stop_reason"] = self._stop_reason
        message["usage"] = self._usage(self._answer.tokens)
        return to_json(message)

    def events(self) -> Events:
        opening = (
            _event({"type": "message_start", "message": self._message()})
            + _event({"type": "content_block_start", "index": 0, "content_block": self._block()})
            + _event({"type": "ping"})
        )
        closing = (
            _event({"type": "content_block_stop", "index": 0})
            + _event(
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": self._stop_reason, "stop_sequence": None},
                    "usage": {"output_tokens": self._answer.tokens},
                }
            )
            + _event({"type": "message_stop"})
        )
        tokens = [
            _delta(piece, is_call=self._answer.call_name is not None) for piece in self._answer.pieces()
        ]
        return Events(opening, tokens, closing)

    def _block(self) -> dict[str, Any]:
        """The one block of the message, still empty."""
        if self._answer.call_name:
            name = self._answer.call_name
            return {"type": "tool_use", "id": f"toolu_{uuid4().hex[:24]}", "name": name, "input": {}}
        return {"type": "text", "text": ""}

    def _message(self) -> dict[str, Any]:
        return {
            "id": f"msg_{uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(1),
        }

    def _usage(self, output_tokens: int) -> dict[str, int | str]:
        return {
            "input_tokens": self._input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
            "service_tier": "standard",
        }


def _delta(piece: str, *, is_call: bool) -> bytes:
    delta = {"type": "text_delta", "text": piece}
    if is_call:
        delta = {"type": "input_json_delta", "partial_json": piece}
    return _event({"type": "content_block_delta", "index": 0, "delta": delta})


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), to_json(data))
