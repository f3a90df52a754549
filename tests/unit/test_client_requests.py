"""What a caller writes → a request, or one sentence on what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from client import ChatRequest, EmbedRequest, InvalidRequest, Message, Queue
from client.requests import chat_request, embed_request
from client.wire.schemas import MAX_PROMPT_BYTES

HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "value", ["hi", HI, [Message(role="user", content="hi")], {"prompt": "hi"}, {"messages": HI}]
)
def test_a_chat_may_be_written_in_several_ways(value: Any) -> None:
    assert chat_request(value).model_dump(exclude_defaults=True) == {"messages": HI}


def test_options_and_a_system_prompt_are_added() -> None:
    request = chat_request("hi", system="Be brief.", model="openai/m", max_tokens=5, temperature=None)
    assert [(m.role, m.content) for m in request.messages] == [("system", "Be brief."), ("user", "hi")]
    assert (request.model, request.max_tokens, request.temperature) == ("openai/m", 5, None)


def test_options_are_added_to_a_request_made_already_without_changing_it() -> None:
    made = chat_request("hi", seed=1)
    assert chat_request(made) is made
    assert chat_request(made, max_tokens=5).max_tokens == 5
    assert chat_request(made, max_tokens=5).seed == 1
    assert made.max_tokens is None
    texts = embed_request("hi")
    assert embed_request(texts) is texts
    assert embed_request(texts, dimensions=8).dimensions == 8


def test_fields_that_a_provider_adds_to_a_message_are_kept() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    assert chat_request([call]).model_dump(exclude_defaults=True)["messages"] == [
        {"role": "assistant", "tool_calls": [{"id": "1"}]}
    ]


@pytest.mark.parametrize(
    ("value", "options", "sentence"),
    [
        (5, {}, "A chat takes a prompt, a list of messages or a ChatRequest, not int."),
        (None, {}, "A chat takes a prompt, a list of messages or a ChatRequest, not NoneType."),
        (b"hi", {}, "A chat takes a prompt, a list of messages or a ChatRequest, not bytes."),
        ("", {}, "messages.0: the user message is empty."),
        ([], {}, "messages: list should have at least 1 item after validation, not 0."),
        ({}, {}, "messages: field required."),
        ({"messages": None}, {"system": "x"}, "messages: field required."),
        ({"messages": "hi"}, {"system": "x"}, "messages: input should be a valid list."),
        ({"messages": 5}, {"system": "x"}, "messages: input should be a valid list."),
        ({"prompt": "a", "messages": HI}, {}, "Give either prompt or messages, not both."),
        (["hi"], {}, "messages.0: input should be a valid dictionary or instance of Message."),
        ([{"role": "user"}], {}, "messages.0: the user message is empty."),
        ([{"role": "system", "content": ""}], {}, "messages: every message is empty."),
        (
            [{"role": "assistant", "name": "x", "content": []}],
            {},
            "messages.0: the assistant message is empty.",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], {}, "messages.0: the user message is empty."),
        ("  ", {}, "messages.0: the user message is empty."),
        (
            [{"role": "user", "content": [{"type": "text", "text": " "}]}],
            {},
            "messages.0: the user message is empty.",
        ),
        ("hi", {"bogus": 1}, "bogus: extra inputs are not permitted."),
        ("hi", {"temperature": 3}, "temperature: input should be less than or equal to 2."),
        ("hi", {"temperature": float("nan")}, "temperature: input should be less than or equal to 2."),
        ("hi", {"max_tokens": 0}, "max_tokens: input should be greater than 0."),
        ("hi", {"timeout_s": -1}, "timeout_s: input should be greater than 0."),
        ("hi", {"model": ""}, "model: string should have at least 1 character."),
        ("hi", {"max_tokens": 0, "seed": "x"}, "max_tokens: input should be greater than 0 (and 1 more)."),
    ],
)
def test_a_bad_chat_is_refused_in_one_sentence(value: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        chat_request(value, **options)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("value", ["hi", ["hi"], ("hi",), iter(["hi"]), {"texts": ["hi"]}])
def test_texts_may_be_written_in_several_ways(value: Any) -> None:
    assert embed_request(value) == EmbedRequest(texts=["hi"])


@pytest.mark.parametrize(
    ("value", "options", "sentence"),
    [
        (5, {}, "An embedding takes a text, several or an EmbedRequest, not int."),
        (b"hi", {}, "An embedding takes a text, several or an EmbedRequest, not bytes."),
        ([], {}, "texts: list should have at least 1 item after validation, not 0."),
        ("", {}, "texts.0: string should have at least 1 character."),
        ([5], {}, "texts.0: input should be a valid string."),
        ({"text": "hi"}, {}, "texts: field required (and 1 more)."),
        ("hi", {"dimensions": 0}, "dimensions: input should be greater than 0."),
    ],
)
def test_bad_texts_are_refused_in_one_sentence(value: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        embed_request(value, **options)
    assert str(refusal.value) == sentence


async def test_a_request_that_is_too_large_is_refused(fake_queue: Queue) -> None:
    with pytest.raises(InvalidRequest, match=r"^The request has 8,388,\d+ bytes; at most 8,388,608 can be"):
        await fake_queue.chat("x" * MAX_PROMPT_BYTES)


@pytest.mark.parametrize("options", [{"metadata": {"x": object()}}, {"extra": {"x": b"\xff"}}])
async def test_metadata_that_is_not_json_is_refused(fake_queue: Queue, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="cannot be written as JSON"):
        await fake_queue.chat("hi", **options)


async def test_half_a_character_is_refused(fake_queue: Queue) -> None:
    with pytest.raises(InvalidRequest, match="surrogates not allowed"):
        await fake_queue.chat("\ud83d")


@pytest.mark.parametrize(
    "one", ["hi", b"hi", {"prompt": "hi"}, ChatRequest.model_validate({"messages": HI}), 5]
)
async def test_one_request_is_not_taken_for_many(fake_queue: Queue, one: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^chat_many takes a list of requests"):
        await fake_queue.chat_many(one)
    with pytest.raises(InvalidRequest, match=r"^embed_many takes a list of requests"):
        await fake_queue.embed_many(one)
