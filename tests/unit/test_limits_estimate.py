"""The rule by which the tokens of a call are estimated."""

from __future__ import annotations

import time
from typing import Any

import pytest

from client.limits.rules.estimate import input_tokens, output_tokens
from client.requests import chat_request, embed_request

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}


def said(content: Any, role: str = "user", **more: Any) -> list[dict[str, Any]]:
    return [{"role": role, "content": content, **more}]


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [
        (said("x" * 400), 100 + 4),
        (said("x" * 401), 101 + 4),
        (said("é" * 200), 100 + 4),  # bytes, not characters
        (said("日" * 4), 3 + 4),
        (said("abcd") + said("abcd", "assistant"), 2 + 8),
        (said("a") + said("b"), 1 + 8),  # rounded up once
        (said([{"type": "text", "text": "abcd"}, {"type": "input_text", "text": "abcd"}]), 2 + 4),
        (said([IMAGE, {"type": "image", "source": {}}, {"type": "input_image"}]), 2_400 + 4),
        (said([{"type": "tool_result", "content": [{"type": "text", "text": "abcd"}, IMAGE]}]), 801 + 4),
        (said([{"type": "tool_result", "content": "abcd"}]), 1 + 4),
        (said([{"type": "input_audio", "input_audio": {"data": "A" * 10_000}}]), 4),
        (said([{"type": ["odd"], "text": 7}]), 4),
        (said(None, "assistant", tool_calls=[{"id": "abcdefg"}]), 5 + 4),  # [{"id":"abcdefg"}]
    ],
)
def test_the_input_of_a_chat_is_estimated_by_the_rule(messages: list[dict[str, Any]], tokens: int) -> None:
    assert input_tokens(chat_request(messages)) == tokens


def test_the_definitions_of_tools_and_of_the_format_count_as_their_json() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]  # 46 bytes
    format_ = {"type": "json_object"}  # 22 bytes
    assert input_tokens(chat_request("ab", tools=tools, response_format=format_)) == 18 + 4
    assert input_tokens(chat_request("ab", extra={"functions": tools, "user": "x" * 100})) == 12 + 4
    assert (
        input_tokens(chat_request("ab", extra={"functions": [object()]})) == 1 + 4
    )  # refused when it is sent


def test_the_input_of_an_embedding_is_its_texts() -> None:
    assert input_tokens(embed_request(["abcd", "abcde"])) == 3


def test_half_a_character_is_left_to_whoever_sends_it() -> None:
    assert input_tokens(chat_request(said([{"type": "text", "text": "\ud800"}]))) == 1 + 4


def test_the_output_is_what_the_request_allows_itself() -> None:
    assert output_tokens(chat_request("hi", max_tokens=7)) == 7
    assert output_tokens(chat_request("hi")) == 0
    assert output_tokens(embed_request("hi")) == -1


@pytest.mark.parametrize("letter", ["x", "é"])
def test_the_largest_prompt_is_estimated_in_a_moment(letter: str) -> None:
    text = letter * (8_000_000 // len(letter.encode()))
    requests = [chat_request(text), chat_request([*said([{"type": "text", "text": text}])])]
    started_s = time.perf_counter()
    assert [input_tokens(request) for request in requests] == [2_000_004] * 2
    assert time.perf_counter() - started_s < 1
