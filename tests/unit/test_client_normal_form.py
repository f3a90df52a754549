"""Strict about meaning, lenient about form: null is absent, older and empty turns are fine, and all comes back."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import ChatRequest, EmbedRequest, InvalidRequest, Message, Queue, decode, encode
from client.errors import Unserializable
from client.requests import chat_request, embed_request
from client.wire.readable import MAX_DIGITS, MAX_LEVELS

USER: dict[str, Any] = {"role": "user", "content": "hi"}
CALLS: dict[str, Any] = {
    "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
}
OPTIONAL = sorted(ChatRequest.model_fields.keys() - {"messages"})


def told(request: ChatRequest | EmbedRequest) -> dict[str, Any]:
    return request.model_dump(exclude_defaults=True)


def with_nulls(value: Any, names: st.SearchStrategy[str], draw: Any) -> Any:
    """`value` with fields that are null in all of its objects."""
    if isinstance(value, dict):
        nulls = {draw(names): None for _ in range(draw(st.integers(0, 2)))}
        return nulls | {name: with_nulls(field, names, draw) for name, field in value.items()}
    if isinstance(value, list):
        return [with_nulls(item, names, draw) for item in value]
    return value


MESSAGES: list[dict[str, Any]] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "x"},
            {"type": "image_url", "image_url": {"url": "https://a.b"}},
        ],
    },
    {"role": "assistant", "content": "yes", **CALLS},
    {"role": "tool", "tool_call_id": "t", "content": "42"},
]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "x"}}]


@given(st.data())
def test_null_is_absent_wherever_it_stands(data: st.DataObject) -> None:
    names = st.sampled_from(["name", "refusal", "audio", "image_url2", "strict", "detail", "cache_control"])
    given_ = {
        "messages": MESSAGES,
        "tools": TOOLS,
        "response_format": {"type": "json_object"},
        "model": "a/b",
    }
    padded = with_nulls(given_, names, data.draw) | {name: None for name in OPTIONAL if name not in given_}
    padded = {name: value for name, value in padded.items() if name in ChatRequest.model_fields}
    assert told(chat_request(padded)) == told(chat_request(given_))
    assert told(ChatRequest.model_validate(padded)) == told(ChatRequest.model_validate(given_))


def test_null_that_means_something_stays() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [None, 1], "default": None}}}
    request = chat_request(
        [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": {"a": None}}}]},
        ],
        tools=[{"type": "function", "function": {"name": "f", "strict": None, "parameters": schema}}],
        response_format={"type": "json_schema", "json_schema": {"schema": schema, "strict": None}},
        metadata={"label": None},
        extra={"stream_options": None, "top_k": None},
    )
    assert request.messages[1].content is None
    assert (request.messages[1].model_extra or {})["tool_calls"] == [{"function": {"arguments": {"a": None}}}]
    assert request.tools == [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    assert request.response_format == {"type": "json_schema", "json_schema": {"schema": schema}}
    assert request.metadata == {"label": None}
    assert request.extra == {"stream_options": None}


def test_null_is_absent_in_a_prompt_and_in_texts() -> None:
    assert told(chat_request({"prompt": "hi", "messages": None, "tools": None})) == {"messages": [USER]}
    assert told(embed_request({"texts": ["a"], "dimensions": None, "extra": None})) == {"texts": ["a"]}


@pytest.mark.parametrize("content", [None, "", [], [{"type": "text", "text": ""}]])
def test_a_system_message_that_is_empty_is_left_out(content: Any) -> None:
    request = chat_request(
        [{"role": "system", "content": content}, USER, {"role": "developer", "content": content}]
    )
    assert told(request) == {"messages": [USER]}
    assert told(chat_request("hi", system="")) == {"messages": [USER]}


@pytest.mark.parametrize("turn", [{"role": "tool", "tool_call_id": "t"}, {"role": "function", "name": "f"}])
@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}, {"content": []}])
def test_a_tool_may_return_nothing(turn: dict[str, Any], content: dict[str, Any]) -> None:
    request = chat_request([USER, {"role": "assistant", **CALLS}, {**turn, **content}])
    assert request.messages[2].content == ""
    assert chat_request(told(request)) == request


@pytest.mark.parametrize(
    "carried",
    [
        CALLS,
        {"function_call": {"name": "f", "arguments": "{}"}},
        {"audio": {"id": "a"}},
        {"refusal": "No."},
        {"reasoning_content": "Hm."},
        {"content": ""},
    ],
)
def test_whatever_carries_an_assistants_turn_counts(carried: dict[str, Any]) -> None:
    assert len(chat_request([USER, {"role": "assistant", **carried}, USER]).messages) == 3


@pytest.mark.parametrize("fields", [{}, {"content": None, "tool_calls": None}, {"content": [], "name": "x"}])
def test_an_assistants_turn_of_nothing_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="the assistant message is empty"):
        chat_request([USER, {"role": "assistant", **fields}])


# -- what cannot be read back ----------------------------------------------------------------------


def nest(levels: int, kinds: list[bool], core: Any = 1) -> Any:
    value = core
    for level in range(levels):
        value = {"d": value} if kinds[level % len(kinds)] else [value]
    return value


@given(levels=st.integers(150, 260), kinds=st.lists(st.booleans(), min_size=1), place=st.sampled_from("akr"))
def test_what_is_written_can_be_read_or_is_refused_as_too_deep(
    levels: int, kinds: list[bool], place: str
) -> None:
    value = nest(levels, kinds)
    record = {"f": "x", place: {"k": value} if place == "k" else [value]}
    if levels + 2 > MAX_LEVELS + 1:
        with pytest.raises(Unserializable, match="nested too deeply"):
            encode(record)
    elif levels + 2 <= MAX_LEVELS:
        assert decode(encode(record)) == record


@pytest.mark.parametrize("field", ["metadata", "extra", "tools", "response_format", "messages"])
async def test_a_request_comes_back_or_is_refused_as_too_deep(fake_queue: Queue, field: str) -> None:
    taken = []
    for levels in (*range(1, 10), *range(180, 210), 255, 256, 300, 5_000):
        value: Any = {"type": "x", "d": nest(levels, [False])}
        value = {"tools": [value], "messages": [{**USER, "more": value}]}.get(field, value)
        fields: dict[str, Any] = {"messages": [USER], field: value}
        with suppress(InvalidRequest):
            job = await fake_queue.chat(fields)
            assert (await job.info()).function == "chat"  # its record can be read
            taken.append(levels)
    assert taken[:9] == [*range(1, 10)]
    assert MAX_LEVELS - 10 < max(taken) < MAX_LEVELS


NO_JSON = [float("nan"), float("inf"), float("-inf"), 10**MAX_DIGITS, -(10**MAX_DIGITS)]
PLACES: list[Any] = [lambda n: n, lambda n: {"a": [n]}, lambda n: [["NaN", n]]]


@pytest.mark.parametrize("number", NO_JSON, ids=["nan", "inf", "-inf", "long", "-long"])
@pytest.mark.parametrize("place", PLACES)
async def test_a_number_that_is_no_json_is_refused_at_every_door(
    fake_queue: Queue, number: Any, place: Any
) -> None:
    value = place(number)
    told = r"NaN and infinity|4,300 digits"
    for field in ("metadata", "extra"):
        with pytest.raises(InvalidRequest, match=told):
            await fake_queue.chat({"prompt": "hi", field: {"x": value}})
        with pytest.raises(InvalidRequest, match=told):
            await fake_queue.embed({"texts": ["hi"], field: {"x": value}})
    with pytest.raises(InvalidRequest, match=told):
        await fake_queue.chat([{**USER, "x": value}])
    for args, kwargs in (((value,), {}), ((), {"x": value})):
        with pytest.raises(Unserializable, match=told):
            await fake_queue.enqueue("f", *args, **kwargs)
    with pytest.raises(Unserializable, match=told):
        encode({"r": value})


@pytest.mark.parametrize(
    "text", ["NaN", "-Infinity, 1e999", "{" * 1_000, "[" * 1_000, "7" * 10_000], ids=range(5)
)
def test_a_text_that_looks_alike_is_a_text(text: str) -> None:
    assert decode(encode({"r": [text, {text: 1}]})) == {"r": [text, {text: 1}]}


@pytest.mark.parametrize("digits", [MAX_DIGITS - 1, MAX_DIGITS])
@pytest.mark.parametrize("before", range(0, 3_000, 499))
def test_the_longest_number_comes_back(digits: int, before: int) -> None:
    data = {"r": ["x" * before, 10 ** (digits - 1)]}
    assert decode(encode(data)) == data
    with pytest.raises(Unserializable, match="4,300 digits"):
        encode({"r": ["x" * before, 10**MAX_DIGITS]})


def test_a_message_made_in_python_is_in_the_same_form() -> None:
    message = Message.model_validate({"role": "user", "content": "x", "name": None})
    assert message.model_dump(exclude_unset=True) == {"role": "user", "content": "x"}
