"""Turns of the older form, `function_call` and `function`: OpenAI's hosts get them as they are, others as calls."""

from __future__ import annotations

from typing import Any

from client.requests import chat_request
from promptmill.dialects.anthropic.ask import chat_body as anthropic_body
from promptmill.dialects.gemini.ask import chat_body as gemini_body
from promptmill.dialects.openai.ask import Names
from promptmill.dialects.openai.ask import chat_body as openai_body

CALL = {"name": "f", "arguments": '{"a": 1}'}
TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "x"},
    {"role": "assistant", "content": None, "function_call": CALL},
    {"role": "function", "name": "f", "content": ""},
    {"role": "assistant", "content": "hm", "function_call": CALL},
    {"role": "function", "name": "f", "content": "42"},
]


def test_openais_hosts_get_them_as_they_are() -> None:
    assert openai_body(chat_request(TURNS), "m", Names(), {}, stream=False)["messages"] == TURNS


def test_anthropic_gets_calls_and_their_results() -> None:
    _, first, nothing, second, result = anthropic_body(chat_request(TURNS), "m")["messages"]
    called = [first["content"][0], second["content"][1]]
    answered = [nothing["content"][0], result["content"][0]]
    assert [block["input"] for block in called] == [{"a": 1}] * 2
    assert [block["id"] for block in called] == [block["tool_use_id"] for block in answered]
    assert called[0]["id"] != called[1]["id"]
    assert [block.get("content") for block in answered] == [None, "42"]


def test_gemini_gets_calls_and_their_results() -> None:
    _, first, nothing, second, result = gemini_body(chat_request(TURNS))["contents"]
    assert first["parts"][-1] == second["parts"][-1] == {"functionCall": {"name": "f", "args": {"a": 1}}}
    assert [turn["parts"][0]["functionResponse"]["response"] for turn in (nothing, result)] == [
        {"result": ""},
        {"result": "42"},
    ]
