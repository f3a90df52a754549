"""Gemini's dialect: what is sent, and what is read."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from client.errors import BadRequest, MalformedResponse
from client.wire.schemas import ChatRequest, EmbedRequest, Usage
from promptmill.dialects import ChatAnswer
from promptmill.dialects.answers import HttpCall
from promptmill.dialects.gemini import Gemini

BASE = "https://generativelanguage.googleapis.com/v1beta"
PROVIDER = Gemini("gemini", BASE, "gemini-key", "GEMINI_API_KEY")
USER = {"role": "user", "content": "Hi"}
HI = {"role": "user", "parts": [{"text": "Hi"}]}


def call(*messages: Any, stream: bool = False, model: str = "gemini-2.5-flash", **fields: Any) -> HttpCall:
    request = ChatRequest.model_validate({"messages": list(messages) or [USER], **fields})
    return PROVIDER.render_chat(request, model, stream=stream)


def rendered(*messages: Any, **fields: Any) -> Any:
    return json.loads(call(*messages, **fields).body)


def parsed(*parts: Any, reason: str | None = "STOP", **more: Any) -> ChatAnswer:
    body = {"candidates": [{"content": {"parts": list(parts)}, "finishReason": reason}], **more}
    return PROVIDER.parse_chat(json.dumps(body).encode(), httpx.Headers(), "m")


def test_a_request_is_rendered_with_what_was_asked_and_no_more() -> None:
    assert rendered() == {"contents": [HI]}
    fields = {"max_tokens": 7, "temperature": 0, "top_p": 0.5, "stop": "x", "seed": 1, "metadata": {"a": 1}}
    assert rendered(**fields) == {
        "contents": [HI],
        "generationConfig": {
            "maxOutputTokens": 7,
            "temperature": 0,
            "topP": 0.5,
            "stopSequences": ["x"],
            "seed": 1,
        },
    }


def test_the_model_is_in_the_address_and_the_key_in_a_header() -> None:
    assert str(call().url) == f"{BASE}/models/gemini-2.5-flash:generateContent"
    assert str(call(stream=True).url) == f"{BASE}/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert str(call(model="tunedModels/mine").url) == f"{BASE}/tunedModels/mine:generateContent"
    assert call().headers["x-goog-api-key"] == "gemini-key"
    assert "gemini-key" not in repr(call())


@pytest.mark.parametrize(
    "model", ["../../upload", "models/../x", "a?key=b", "a#b", "..", "tunedModels/../../x"]
)
def test_no_name_of_a_model_leads_to_another_address(model: str) -> None:
    url = call(model=model).url
    assert url.raw_path.startswith((b"/v1beta/models/", b"/v1beta/tunedModels/"))
    assert url.raw_path.endswith(b":generateContent")
    assert url.raw_path.count(b"/") == 3


def test_extra_joins_the_generation_config_and_replaces_the_rest() -> None:
    thinking = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}, "safetySettings": []}
    assert rendered(max_tokens=5, extra=thinking) == {
        "contents": [HI],
        "generationConfig": {"maxOutputTokens": 5, "thinkingConfig": {"includeThoughts": True}},
        "safetySettings": [],
    }


def test_system_messages_are_lifted_out() -> None:
    body = rendered({"role": "system", "content": "A"}, USER, {"role": "developer", "content": "B"})
    assert body == {"systemInstruction": {"parts": [{"text": "A"}, {"text": "B"}]}, "contents": [HI]}
    with pytest.raises(BadRequest, match=r"^gemini/gemini-2\.5-flash needs at least one user message"):
        call({"role": "system", "content": "A"})


def test_images_are_sent_inline_or_by_their_address() -> None:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": "https://x.test/a.jpg?size=1"},
        {"type": "image_url", "image_url": {"url": "https://x.test/a"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "BBBB"}},
    ]
    assert rendered({"role": "user", "content": parts})["contents"][0]["parts"] == [
        {"text": "What is it?"},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://x.test/a.jpg?size=1", "mimeType": "image/jpeg"}},
        {"fileData": {"fileUri": "https://x.test/a"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "BBBB"}},
    ]


def test_tools_are_declared_and_one_can_be_demanded() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    function = {"name": "add", "description": "Adds.", "parameters": schema, "strict": True}
    body = rendered(
        tools=[{"type": "function", "function": function}, {"googleSearch": {}}], tool_choice="auto"
    )
    declared = {"name": "add", "description": "Adds.", "parametersJsonSchema": schema}
    assert body["tools"] == [{"functionDeclarations": [declared]}, {"googleSearch": {}}]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "AUTO"}}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "add"}},
            {"mode": "ANY", "allowedFunctionNames": ["add"]},
        ),
    ],
)
def test_the_choice_of_a_tool_has_googles_names(choice: Any, config: dict[str, Any]) -> None:
    assert rendered(tool_choice=choice)["toolConfig"] == {"functionCallingConfig": config}


def test_a_conversation_with_tools_is_sent_with_its_signatures() -> None:
    calls = parsed(
        {"functionCall": {"name": "add", "args": {"a": 1}}, "thoughtSignature": "Ej"},
        {"functionCall": {"name": "now"}},
    ).tool_calls
    turn = {"role": "assistant", "content": None, "tool_calls": calls}
    results = [
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": '{"sum": 2}'},
        {"role": "tool", "tool_call_id": calls[1]["id"], "content": "noon"},
    ]
    assert rendered(USER, turn, *results, USER)["contents"] == [
        HI,
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "add", "args": {"a": 1}}, "thoughtSignature": "Ej"},
                {"functionCall": {"name": "now", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "add", "response": {"sum": 2}}},
                {"functionResponse": {"name": "now", "response": {"result": "noon"}}},
            ],
        },
        HI,
    ]


def test_json_is_asked_for_with_its_schema() -> None:
    schema = {"type": "object", "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    json_mode = {"responseMimeType": "application/json"}
    assert rendered(response_format=wanted)["generationConfig"] == {**json_mode, "responseJsonSchema": schema}
    assert rendered(response_format={"type": "json_object"})["generationConfig"] == json_mode
    assert rendered(response_format={"type": "text"}) == {"contents": [HI]}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tool_choice": "sometimes"}, "takes a tool_choice of auto, none, required"),
        ({"response_format": {"type": "xml"}}, "takes a response_format of type text, json_object, or"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "no part of type 'input_audio'",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "takes an image as image_url"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:,x"}]}]},
            "of the form data:image/png;base64",
        ),
        ({"messages": [{"role": "tool", "content": "2"}]}, "needs the call that a tool message answers"),
    ],
)
def test_what_cannot_be_said_is_refused_before_anything_is_sent(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequest, match=rf"^gemini/gemini-2\.5-flash .*{reason}.*\.$"):
        call(**{"messages": [USER], **fields}) if "messages" in fields else call(**fields)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("RECITATION", "content_filter"),
        ("OTHER", "OTHER"),
        (None, None),
    ],
)
def test_reasons_to_finish_have_our_names(theirs: str | None, ours: str | None) -> None:
    assert parsed({"text": "x"}, reason=theirs).finish_reason == ours


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (None, Usage()),
        ({}, Usage()),
        ({"promptTokenCount": "nine"}, Usage()),
        ({"promptTokenCount": 9, "toolUsePromptTokenCount": 4}, Usage(input_tokens=13)),
        (
            {"promptTokenCount": 9, "thoughtsTokenCount": 4},
            Usage(input_tokens=9, output_tokens=4, reasoning_tokens=4),
        ),
        ({"promptTokenCount": 9, "candidatesTokenCount": 4}, Usage(input_tokens=9, output_tokens=4)),
    ],
)
def test_usage_that_is_not_told_is_none_and_never_zero(told: dict[str, Any] | None, usage: Usage) -> None:
    assert parsed({"text": "x"}, usageMetadata=told).usage == usage


def test_embeddings_are_asked_for_in_one_request() -> None:
    request = EmbedRequest(texts=["a", "b"], dimensions=2, extra={"taskType": "RETRIEVAL_QUERY"})
    asked = PROVIDER.render_embed(request, "gemini-embedding-001")
    assert str(asked.url) == f"{BASE}/models/gemini-embedding-001:batchEmbedContents"
    assert json.loads(asked.body)["requests"] == [
        {
            "model": "models/gemini-embedding-001",
            "content": {"parts": [{"text": text}]},
            "outputDimensionality": 2,
            "taskType": "RETRIEVAL_QUERY",
        }
        for text in ("a", "b")
    ]
    body = b'{"embeddings": [{"values": [1, 2]}, {"values": [3, 4]}]}'
    answer = PROVIDER.parse_embed(body, httpx.Headers(), "e")
    assert (answer.vectors, answer.model, answer.usage) == ([[1, 2], [3, 4]], "e", Usage())


@pytest.mark.parametrize("body", [b"", b"{}", b'{"embeddings": []}', b'{"embeddings": [{"values": "AAAA"}]}'])
def test_what_is_not_vectors_is_a_malformed_response(body: bytes) -> None:
    with pytest.raises(MalformedResponse):
        PROVIDER.parse_embed(body, httpx.Headers(), "e")
