"""OpenAI's dialect: what is sent, and what is read."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from client.errors import MalformedResponse, RateLimited
from client.wire.schemas import ChatRequest, EmbedRequest, Usage
from promptmill.dialects import ChatAnswer
from promptmill.dialects.openai import OpenAI

HEADERS = httpx.Headers({"x-request-id": "req_1"})
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "total_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
}


def provider(base_url: str = "https://api.openai.com/v1", key: str | None = "sk-test-key") -> OpenAI:
    return OpenAI("openai", base_url, key, "OPENAI_API_KEY")


def rendered(fields: dict[str, Any], **of: Any) -> Any:
    request = ChatRequest.model_validate({"messages": [{"role": "user", "content": "Hi"}], **fields})
    return json.loads(provider(**of).render_chat(request, "m").body)


def parsed(**changes: Any) -> ChatAnswer:
    return provider().parse_chat(json.dumps({**ANSWER, **changes}).encode(), HEADERS, "gpt-4o-mini")


def choice(finish_reason: str = "stop", **message: Any) -> list[dict[str, Any]]:
    return [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}]


def test_a_request_is_rendered_with_what_was_asked_and_no_more() -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    assert rendered({}) == asked | {"stream": False}  # some hosts stream where it is not said
    assert rendered({"temperature": 0, "top_p": 0.5, "stop": ["x"], "seed": 0, "max_tokens": 5}) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["x"],
        "seed": 0,
        "max_completion_tokens": 5,
        "stream": False,
    }


@pytest.mark.parametrize(
    ("base_url", "field"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("https://mine.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("http://localhost:8000/v1", "max_tokens"),
        ("https://openrouter.ai/api/v1", "max_tokens"),
    ],
)
def test_the_host_decides_the_name_of_max_tokens(base_url: str, field: str) -> None:
    assert rendered({"max_tokens": 7}, base_url=base_url)[field] == 7


def test_extra_goes_last_and_metadata_nowhere() -> None:
    body = rendered({"temperature": 1, "extra": {"top_k": 4, "n": 1}, "metadata": {"mine": 1}})
    assert (body["temperature"], body["top_k"], body["n"]) == (1, 4, 1)
    assert "metadata" not in body


def test_fields_a_message_has_beyond_ours_are_kept() -> None:
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "x": 0}]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]
    assert rendered({"messages": turns})["messages"] == turns


def test_a_server_without_a_key_gets_no_authorization() -> None:
    request = ChatRequest.model_validate({"messages": [{"role": "user", "content": "Hi"}]})
    assert provider().render_chat(request, "m").headers["authorization"] == "Bearer sk-test-key"
    assert "authorization" not in provider(key=None).render_chat(request, "m").headers


def test_the_key_is_not_in_the_repr_of_a_call() -> None:
    request = ChatRequest.model_validate({"messages": [{"role": "user", "content": "Hi"}]})
    assert "sk-test" not in repr(provider().render_chat(request, "m")) + repr(provider())


def test_an_answer_is_read() -> None:
    answer = parsed()
    assert (answer.text, answer.finish_reason, answer.response_id) == ("Hello", "stop", "chatcmpl-1")
    assert answer.model == "gpt-4o-mini-2024-07-18"
    assert answer.usage == Usage(input_tokens=9, output_tokens=2, cached_input_tokens=4, reasoning_tokens=1)


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": "nine"}, {"prompt_tokens": -1}, 7]
)
def test_usage_that_is_not_told_is_none_and_never_zero(usage: Any) -> None:
    assert parsed(usage=usage).usage == Usage()


def test_tool_calls_without_content_have_an_empty_text() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    answer = parsed(choices=choice("tool_calls", content=None, tool_calls=calls))
    assert (answer.text, answer.finish_reason, answer.tool_calls) == ("", "tool_calls", calls)


def test_text_in_parts_is_joined_and_a_refusal_is_the_text() -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]
    assert parsed(choices=choice(content=parts)).text == "ab"
    refused = parsed(choices=choice(content=None, refusal="No."))
    assert (refused.text, refused.finish_reason) == ("No.", "content_filter")


@pytest.mark.parametrize(
    ("told", "ours"),
    [
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("STOP", "stop"),
        ("model_length", "length"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("tool_use", "tool_calls"),
        ("insufficient_system_resource", "insufficient_system_resource"),  # DeepSeek's own
    ],
)
def test_why_an_answer_ended_has_one_name_whichever_word_a_host_has_for_it(told: str, ours: str) -> None:
    assert parsed(choices=choice(told, content="x")).finish_reason == ours


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html>",
        b'{"choices": []}',
        b'{"choices": [{}]}',
        b'{"choices": {"a": 1}}',
        b"\xff",
    ],
)
def test_what_is_not_an_answer_is_a_malformed_response(body: bytes) -> None:
    with pytest.raises(MalformedResponse, match=r"^openai/gpt-4o answered what cannot be read: .*") as raised:
        provider().parse_chat(body, HEADERS, "gpt-4o")
    assert raised.value.request_id == "req_1"


def test_an_error_inside_a_200_is_the_error_it_names() -> None:
    body = json.dumps({"error": {"code": 429, "message": "slow down"}}).encode()
    with pytest.raises(RateLimited, match="slow down"):
        provider().parse_chat(body, HEADERS, "gpt-4o")


def test_embeddings_are_asked_for_and_come_back_in_the_texts_order() -> None:
    request = EmbedRequest(texts=["a", "b"], dimensions=2, extra={"user": "u"})
    assert json.loads(provider().render_embed(request, "e").body) == {
        "model": "e", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 2, "user": "u",
    }  # fmt: skip
    body = {
        "model": "e-1",
        "data": [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    answer = provider().parse_embed(json.dumps(body).encode(), HEADERS, "e")
    assert answer.vectors == [[1, 2], [3, 4]]
    assert (answer.model, answer.usage) == ("e-1", Usage(input_tokens=2, output_tokens=0))


@pytest.mark.parametrize(
    "body", [b"{}", b'{"data": []}', b'{"data": [{"embedding": "AAAA"}]}', b'{"data": [{"embedding": "x"}]}']
)
def test_what_is_not_vectors_is_a_malformed_response(body: bytes) -> None:
    with pytest.raises(MalformedResponse):
        provider().parse_embed(body, HEADERS, "e")


def test_base64_is_asked_of_no_host_that_may_not_know_it() -> None:
    request = EmbedRequest(texts=["a"])
    elsewhere = OpenAI("local", "http://localhost:8000/v1", None, "X")
    assert json.loads(elsewhere.render_embed(request, "e").body)["encoding_format"] == "float"
    body = json.dumps({"data": [{"embedding": "AACAPwAAAEA="}]}).encode()
    assert elsewhere.parse_embed(body, HEADERS, "e").vectors == ["AACAPwAAAEA="]


def test_tools_and_formats_are_sent_as_they_are() -> None:
    fields = {
        "tools": [{"type": "function", "function": {"name": "add"}}],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "response_format": {"type": "json_object"},
    }
    body = rendered(fields)
    assert {name: body[name] for name in fields} == fields


def test_a_stream_is_asked_for_with_its_usage_unless_the_host_refuses_that() -> None:
    def streamed(**fields: Any) -> Any:
        request = ChatRequest.model_validate({"messages": [{"role": "user", "content": "Hi"}], **fields})
        return json.loads(provider().render_chat(request, "m", stream=True).body)

    assert streamed()["stream"] is True
    assert streamed()["stream_options"] == {"include_usage": True}
    assert "stream_options" not in streamed(extra={"stream_options": None})


def test_reasoning_has_a_name_at_every_host() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "a"},
    ]
    for message in (
        {"content": "a", "reasoning_content": "hm"},
        {"content": "a", "reasoning": "hm"},
        {"content": parts},
    ):
        answer = parsed(choices=choice(**message))
        assert (answer.text, answer.reasoning) == ("a", "hm")
    assert parsed().reasoning is None


def test_what_the_cache_did_has_a_name_at_every_host() -> None:
    deepseek = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4}
    assert parsed(usage=deepseek).usage.cached_input_tokens == 4
    openrouter = {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 5}}
    told = parsed(usage=openrouter).usage
    assert (told.cached_input_tokens, told.cache_write_tokens) == (0, 5)


def test_a_forced_call_finishes_as_a_call() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert parsed(choices=choice("stop", content=None, tool_calls=calls)).finish_reason == "tool_calls"
