"""Anthropic's dialect: what is sent, and what is read."""

import json

import httpx
import pytest

from client.errors import BadRequest, MalformedResponse
from client.schemas import ChatRequest, EmbedRequest, Usage
from worker.llm.providers.anthropic import DEFAULT_MAX_TOKENS, Anthropic

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


def call(*messages, **fields):
    return PROVIDER.render_chat(ChatRequest.model_validate({"messages": list(messages), **fields}), "claude")


def rendered(*messages, **fields):
    return json.loads(call(*messages, **fields).body)


def parsed(**changes):
    return PROVIDER.parse_chat(json.dumps({**ANSWER, **changes}).encode(), httpx.Headers(), "claude")


def test_a_request_is_rendered_with_the_limit_the_api_requires():
    assert rendered(USER) == {"model": "claude", "max_tokens": DEFAULT_MAX_TOKENS, "messages": [USER]}
    assert rendered(USER, max_tokens=7, temperature=0, stop="x", seed=1, extra={"top_k": 3}, metadata={"a": 1}) == {
        "model": "claude", "max_tokens": 7, "messages": [USER], "temperature": 0, "stop_sequences": ["x"], "top_k": 3,
    }  # fmt: skip


def test_the_headers_name_the_key_and_the_version():
    headers = call(USER).headers
    assert headers["x-api-key"] == "sk-ant-key"
    assert headers["anthropic-version"] == "2023-06-01"
    assert call(USER).url == "https://api.anthropic.com/v1/messages"


def test_system_messages_are_lifted_out():
    system, developer = {"role": "system", "content": "A"}, {"role": "developer", "content": "B"}
    body = rendered(system, USER, developer)
    assert body["system"] == "A\n\nB"
    assert body["messages"] == [USER]
    cached = {"type": "text", "text": "C", "cache_control": {"type": "ephemeral"}}
    assert rendered(system, {"role": "system", "content": [cached]}, USER)["system"] == [
        {"type": "text", "text": "A"},
        cached,
    ]


def test_a_system_message_alone_is_refused_before_anything_is_sent():
    with pytest.raises(BadRequest, match="anthropic/claude needs at least one user message"):
        call({"role": "system", "content": "A"})


def test_a_tool_conversation_is_translated_both_ways():
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


def test_an_answer_is_read_and_cached_tokens_are_part_of_the_input():
    answer = parsed()
    assert (answer.text, answer.finish_reason, answer.response_id) == ("Hello", "stop", "msg_1")
    assert answer.model == "claude-sonnet-4-5-20250929"
    assert answer.usage == Usage(input_tokens=18, output_tokens=2, cached_input_tokens=3)


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": None}])
def test_usage_that_is_not_told_is_none_and_never_zero(usage):
    assert parsed(usage=usage).usage == Usage()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"),
        ("refusal", "content_filter"), ("pause_turn", "pause_turn"), (None, None),
    ],
)  # fmt: skip
def test_reasons_to_finish_have_our_names(theirs, ours):
    assert parsed(stop_reason=theirs).finish_reason == ours


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"content": "x"}', b'{"content": [{}]}', b"<html>"])
def test_what_is_not_an_answer_is_a_malformed_response(body):
    with pytest.raises(MalformedResponse, match=r"^anthropic/claude answered what cannot be read"):
        PROVIDER.parse_chat(body, httpx.Headers(), "claude")


def test_there_are_no_embeddings():
    with pytest.raises(BadRequest, match="Anthropic has no embeddings; choose an OpenAI-compatible provider"):
        PROVIDER.render_embed(EmbedRequest(texts=["a"]), "claude")
