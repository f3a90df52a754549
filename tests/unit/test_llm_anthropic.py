"""Anthropic's dialect: what is sent, and what is read."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from client.errors import BadRequest, MalformedResponse
from client.wire.schemas import ChatRequest, EmbedRequest, Usage
from promptmill.dialects import ChatAnswer, Route
from promptmill.dialects.answers import HttpCall
from promptmill.dialects.anthropic import Anthropic
from promptmill.dialects.anthropic.ask import DEFAULT_MAX_TOKENS
from promptmill.dialects.stream import ChatStream

PROVIDER = Anthropic("anthropic", "https://api.anthropic.com/v1", "sk-ant-key", "ANTHROPIC_API_KEY")
USER = {"role": "user", "content": "Hi"}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 3,
        "output_tokens": 2,
    },
}


def call(*messages: Any, **fields: Any) -> HttpCall:
    return PROVIDER.render_chat(ChatRequest.model_validate({"messages": list(messages), **fields}), "claude")


def rendered(*messages: Any, **fields: Any) -> Any:
    return json.loads(call(*messages, **fields).body)


def parsed(**changes: Any) -> ChatAnswer:
    return PROVIDER.parse_chat(json.dumps({**ANSWER, **changes}).encode(), httpx.Headers(), "claude")


def test_a_request_is_rendered_with_the_limit_the_api_requires() -> None:
    assert rendered(USER) == {"model": "claude", "max_tokens": DEFAULT_MAX_TOKENS, "messages": [USER]}
    assert rendered(USER, max_tokens=7, temperature=0, stop="x", seed=1, extra={"top_k": 3}, metadata={"a": 1}) == {
        "model": "claude", "max_tokens": 7, "messages": [USER], "temperature": 0, "stop_sequences": ["x"], "top_k": 3,
    }  # fmt: skip


def test_the_headers_name_the_key_and_the_version() -> None:
    headers = call(USER).headers
    assert headers["x-api-key"] == "sk-ant-key"
    assert headers["anthropic-version"] == "2023-06-01"
    assert call(USER).url == "https://api.anthropic.com/v1/messages"


def test_system_messages_are_lifted_out() -> None:
    system, developer = {"role": "system", "content": "A"}, {"role": "developer", "content": "B"}
    body = rendered(system, USER, developer)
    assert body["system"] == "A\n\nB"
    assert body["messages"] == [USER]
    cached = {"type": "text", "text": "C", "cache_control": {"type": "ephemeral"}}
    assert rendered(system, {"role": "system", "content": [cached]}, USER)["system"] == [
        {"type": "text", "text": "A"},
        cached,
    ]


def test_a_system_message_alone_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadRequest, match="anthropic/claude needs at least one user message"):
        call({"role": "system", "content": "A"})


def test_a_tool_conversation_is_translated_both_ways() -> None:
    answer = parsed(
        content=[{"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}], stop_reason="tool_use"
    )
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    turn = {"role": "assistant", "content": None, "tool_calls": answer.tool_calls}
    body = rendered(USER, turn, {"role": "tool", "tool_call_id": "t1", "content": "2"})
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "2"}]},
    ]


def test_what_only_openais_messages_have_is_left_out() -> None:
    said: dict[str, Any] = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "annotations": [],
        "tool_calls": None,
    }
    body = rendered({**USER, "name": "Ann"}, said, USER)
    assert body["messages"] == [USER, {"role": "assistant", "content": "Hi"}, USER]


def test_an_answer_is_read_and_cached_tokens_are_part_of_the_input() -> None:
    answer = parsed()
    assert (answer.text, answer.finish_reason, answer.response_id) == ("Hello", "stop", "msg_1")
    assert answer.model == "claude-sonnet-4-5-20250929"
    assert answer.usage == Usage(
        input_tokens=18, output_tokens=2, cached_input_tokens=3, cache_write_tokens=5
    )


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": None}])
def test_usage_that_is_not_told_is_none_and_never_zero(usage: Any) -> None:
    assert parsed(usage=usage).usage == Usage()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"),
        ("model_context_window_exceeded", "length"), ("refusal", "content_filter"), ("pause_turn", "pause_turn"),
        (None, None),
    ],
)  # fmt: skip
def test_reasons_to_finish_have_our_names(theirs: str | None, ours: str | None) -> None:
    assert parsed(stop_reason=theirs).finish_reason == ours


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"content": "x"}', b'{"content": [{}]}', b"<html>"])
def test_what_is_not_an_answer_is_a_malformed_response(body: bytes) -> None:
    with pytest.raises(MalformedResponse, match=r"^anthropic/claude answered what cannot be read"):
        PROVIDER.parse_chat(body, httpx.Headers(), "claude")


def test_there_are_no_embeddings() -> None:
    with pytest.raises(BadRequest, match="Anthropic has no embeddings; choose an OpenAI-compatible provider"):
        PROVIDER.render_embed(EmbedRequest(texts=["a"]), "claude")


def test_images_are_sent_inline_or_by_their_address() -> None:
    parts = [
        {"type": "text", "text": "What is it?"},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,AAAA"},
            "cache_control": {"type": "x"},
        },
        {"type": "image_url", "image_url": {"url": "https://x.test/a.jpg"}},
    ]
    images = [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
            "cache_control": {"type": "x"},
        },
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.jpg"}},
    ]
    assert rendered({"role": "user", "content": parts})["messages"][0]["content"] == [parts[0], *images]
    result = rendered(USER, {"role": "tool", "tool_call_id": "t", "content": parts[1:]})["messages"][1]
    assert result["content"][0]["content"] == images
    with pytest.raises(BadRequest, match=r"^anthropic/claude takes an image in a data: URL of the form"):
        call({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]})


def test_tools_and_their_choice_have_anthropics_names() -> None:
    function = {"name": "add", "description": "Adds.", "parameters": {"type": "object"}, "strict": True}
    own = {"type": "web_search_20250305", "name": "web_search"}
    body = rendered(USER, tools=[{"type": "function", "function": function}, own], tool_choice="required")
    tool = {"name": "add", "description": "Adds.", "strict": True, "input_schema": {"type": "object"}}
    assert (body["tools"], body["tool_choice"]) == ([tool, own], {"type": "any"})
    named = {"type": "function", "function": {"name": "add"}}
    assert rendered(USER, tool_choice=named)["tool_choice"] == {"type": "tool", "name": "add"}
    assert rendered(USER, tool_choice="none")["tool_choice"] == {"type": "none"}
    assert rendered(USER, tool_choice={"type": "any"})["tool_choice"] == {"type": "any"}
    with pytest.raises(BadRequest, match="takes a tool_choice of auto, none, required, or the function"):
        call(USER, tool_choice="any")


def test_json_is_asked_for_by_its_schema_only() -> None:
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    config = {"format": {"type": "json_schema", "schema": schema}}
    assert rendered(USER, response_format=wanted)["output_config"] == config
    assert "output_config" not in rendered(USER, response_format={"type": "text"})
    with pytest.raises(BadRequest, match=r"claude has no JSON mode without a schema: use .* json_schema\.$"):
        call(USER, response_format={"type": "json_object"})


def test_a_stream_is_asked_for() -> None:
    request = ChatRequest.model_validate({"messages": [USER]})
    assert json.loads(PROVIDER.render_chat(request, "claude", stream=True).body)["stream"] is True


def test_events_that_say_nothing_of_the_answer_are_passed_over() -> None:
    stream = ChatStream(Route(PROVIDER, "claude"), httpx.Headers())
    for data in (b'{"type": "ping"}', b'{"type": "content_block_stop", "index": 0}', b'{"type": "new_kind"}'):
        assert stream.feed(b"data: %b\n\n" % data) == []
    with pytest.raises(MalformedResponse, match="it is not a JSON object"):
        stream.feed(b'data: {"type": \n\n')
