"""OpenAI's `POST /v1/chat/completions`."""

import time
from dataclasses import replace
from typing import Any
from uuid import uuid4

from pydantic_core import to_json

from .config import SimulatorConfig
from .dialect import Events, HttpReply, is_positive_int, mapping, objects, parse_object
from .openai import check_body, error
from .structured import PROSE, Asked, answer_asked
from .text import STAMP, CannedAnswer, count_tokens, read_messages


def read_chat(raw: bytes, config: SimulatorConfig) -> HttpReply:
    """The reply a chat completion's body deserves; raises `Refused`."""
    body = check_body(parse_object(raw))
    messages = _check_messages(body)
    chars, prompt = read_messages(messages)
    input_tokens = count_tokens(chars)
    if input_tokens > config.context_tokens:
        raise error(
            400,
            f"This model's maximum context length is {config.context_tokens} tokens. However, "
            f"your messages resulted in {input_tokens} tokens. Please reduce the length of the "
            "messages.",
            param="messages",
            code="context_length_exceeded",
        )
    answer = answer_asked(
        _asked(body),
        prompt,
        is_users_turn=messages[-1].get("role") == "user",
        fill_tokens=config.output_tokens,
        max_tokens=_max_tokens(body),
    )
    if config.stamp_deltas and body.get("stream") is True:
        answer = replace(answer, text=STAMP * answer.tokens)
    rendering = _Rendering(body["model"], input_tokens, answer, _wants_usage(body))
    events = rendering.events if body.get("stream") is True else None
    return HttpReply(body["model"], input_tokens, answer.tokens, rendering.body, events)


def _check_messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if messages is None:
        raise error(
            400,
            "Missing required parameter: 'messages'.",
            param="messages",
            code="missing_required_parameter",
        )
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise error(
            400,
            "Invalid type for 'messages': expected an array of objects.",
            param="messages",
            code="invalid_type",
        )
    if not messages:
        raise error(
            400,
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got "
            "an empty array instead.",
            param="messages",
            code="empty_array",
        )
    return messages


def _max_tokens(body: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if value is None:
            continue
        if not is_positive_int(value):
            raise error(
                400,
                f"Invalid '{name}': expected an integer of at least 1.",
                param=name,
                code="integer_below_min_value",
            )
        return int(value)
    return None


def _asked(body: dict[str, Any]) -> Asked:
    choice, wanted = body.get("tool_choice"), mapping(body.get("response_format"))
    tools = [] if choice == "none" else objects(body.get("tools"))
    if not tools and not wanted:
        return PROSE
    functions = [mapping(tool.get("function")) for tool in tools]
    must_call = "" if choice == "required" else None
    if isinstance(choice, dict):
        must_call = str(mapping(choice.get("function")).get("name"))
    return Asked(
        {str(each.get("name")): mapping(each.get("parameters")) for each in functions},
        must_call,
        wanted.get("type") in ("json_object", "json_schema"),
        mapping(mapping(wanted.get("json_schema")).get("schema")),
    )


def _wants_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


class _Rendering:
    def __init__(self, model: str, input_tokens: int, answer: CannedAnswer, with_usage: bool) -> None:
        self._model = model
        self._input_tokens = input_tokens
        self._answer = answer
        self._with_usage = with_usage
        self._finish_reason = "length" if answer.is_cut else "tool_calls" if answer.call_name else "stop"

    def body(self) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": self._answer.text,
            "refusal": None,
            "annotations": [],
        }
        if self._answer.call_name:
            message |= {"content": None, "tool_calls": [self._call(self._answer.text)]}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self._finish_reason,
        }
        envelope = self._envelope("chat.completion")
        return to_json({**envelope, "choices": [choice], "usage": self._usage()})

    def events(self) -> Events:
        envelope = self._envelope("chat.completion.chunk")
        usage: dict[str, Any] = {"usage": None} if self._with_usage else {}

        def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
            choice = {
                "index": 0,
                "delta": delta,
                "logprobs": None,
                "finish_reason": finish_reason,
            }
            return b"data: %b\n\n" % to_json({**envelope, "choices": [choice], **usage})

        closing = chunk({}, self._finish_reason)
        if self._with_usage:
            final = {**envelope, "choices": [], "usage": self._usage()}
            closing += b"data: %b\n\n" % to_json(final)
        if self._answer.call_name:
            first: dict[str, Any] = {"content": None, "tool_calls": [{"index": 0, **self._call("")}]}
            deltas: list[dict[str, Any]] = [
                {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
                for piece in self._answer.pieces()
            ]
        else:
            first = {"content": ""}
            deltas = [{"content": piece} for piece in self._answer.pieces()]
        return Events(
            opening=chunk({"role": "assistant", **first}),
            tokens=[chunk(delta) for delta in deltas],
            closing=closing + b"data: [DONE]\n\n",
            stamped=self._answer.text.startswith(STAMP),
        )

    def _call(self, arguments: str) -> dict[str, Any]:
        function = {"name": self._answer.call_name, "arguments": arguments}
        return {"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": function}

    def _envelope(self, object_type: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{uuid4().hex}",
            "object": object_type,
            "created": int(time.time()),
            "model": self._model,
            "service_tier": "default",
            "system_fingerprint": "fp_simulator",
        }

    def _usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self._input_tokens,
            "completion_tokens": self._answer.tokens,
            "total_tokens": self._input_tokens + self._answer.tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
