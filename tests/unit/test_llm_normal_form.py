"""What providers send in many forms has one: calls of tools, tokens, and whatever else there is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from client.wire.schemas import Usage
from promptmill.dialects import ChatAnswer
from promptmill.dialects.answers import count, output_count
from promptmill.dialects.stream import ChatStream
from tests.unit.recordings import PROVIDERS, route

ANTHROPIC_START = {
    "type": "message_start",
    "message": {"id": "m", "model": "c", "usage": {"input_tokens": 1}},
}


def plain(provider: str, body: dict[str, Any]) -> ChatAnswer:
    return PROVIDERS[provider].parse_chat(to_json(body), {}, "m")


def streamed(provider: str, *events: dict[str, Any]) -> ChatAnswer:
    stream = ChatStream(route(provider), {})
    for event in events:
        stream.feed(b"data: %b\n\n" % to_json(event))
    return stream.answer()


def openai(message: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    return {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


# -- calls of tools ----------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(arguments=VALUES.filter(lambda value: not isinstance(value, str)))
def test_arguments_are_json_text_whatever_they_came_as_plain_and_streamed(arguments: Any) -> None:
    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": arguments}}
    one = plain("openai", openai({"tool_calls": [call]}, "tool_calls"))
    other = streamed("openai", chunk({"tool_calls": [call]}), chunk({}, "tool_calls"))
    assert one.tool_calls == other.tool_calls
    told = one.tool_calls[0]["function"]["arguments"]
    assert json.loads(told) == ({} if arguments is None else arguments)


@pytest.mark.parametrize("arguments", ["", "  ", None])
def test_arguments_that_are_none_are_an_empty_object(arguments: str | None) -> None:
    answer = plain(
        "openai", openai({"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": arguments}}]})
    )
    assert answer.tool_calls[0]["function"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize("ids", [("", ""), (None, None), ("call_0", "call_0"), (7, 7)])
def test_ids_are_unique_in_an_answer_and_in_a_conversation(ids: tuple[Any, Any]) -> None:
    calls = [
        {"index": n, "id": id_, "function": {"name": "f", "arguments": "{}"}} for n, id_ in enumerate(ids)
    ]
    answers = [
        *(plain("openai", openai({"tool_calls": calls})) for _ in range(2)),
        streamed("openai", chunk({"tool_calls": calls}), chunk({}, "tool_calls")),
    ]
    made = [call["id"] for answer in answers for call in answer.tool_calls]
    assert len(made) == 6
    assert len({id_ for id_ in made if id_ != "call_0"}) == 6 - made.count("call_0")


def test_an_entry_that_is_no_call_costs_no_answer() -> None:
    answer = plain("openai", openai({"content": "Hi", "tool_calls": ["x", None, 3]}))
    assert (answer.text, answer.tool_calls) == ("Hi", [])


def test_a_custom_tools_call_keeps_its_own_form_plain_and_streamed() -> None:
    call = {"id": "t", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    pieces = (
        {"index": 0, "id": "t", "type": "custom", "custom": {"name": "sql", "input": "SELECT"}},
        {"index": 0, "custom": {"input": " 1"}},
    )
    one = plain("openai", openai({"tool_calls": [call]}, "tool_calls"))
    other = streamed("openai", *(chunk({"tool_calls": [piece]}) for piece in pieces), chunk({}, "tool_calls"))
    assert one.tool_calls == other.tool_calls == [call]


# -- tokens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "tokens"),
    [
        (10, 10), (10.0, 10), ("10", 10), ("10.0", 10), (0, 0), (10**12, 10**12),
        (-1, None), (10**12 + 1, None), ("1e999", None), (float("nan"), None), (float("inf"), None), (1.5, None),
        (True, None), (None, None), ([], None), ("ten", None), ("9" * 5_000, None),
    ],
)  # fmt: skip
def test_a_number_of_tokens_is_one_or_unknown(told: Any, tokens: int | None) -> None:
    assert count(told) == tokens
    assert count(10**5_000) is None


@pytest.mark.parametrize(
    ("told", "total", "prompt", "output"),
    [
        (1, 399, 12, 387),
        (5, 15, 10, 5),
        (5, None, 10, 5),
        (5, 15, None, 5),
        (None, 15, 10, 5),
        (5, 10, 10, 5),
    ],
)
def test_the_output_is_what_the_sums_say(
    told: int | None, total: int | None, prompt: int | None, output: int
) -> None:
    assert output_count(told, total, prompt) == output


def test_reasoning_beside_the_output_is_part_of_it_in_every_dialect() -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 386}}
    usage = {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 399, **details}
    assert plain("openai", openai({"content": "x"}, usage=usage)).usage.output_tokens == 387
    del usage["total_tokens"]
    assert plain("openai", openai({"content": "x"}, usage=usage)).usage.output_tokens == 386
    told = {"promptTokenCount": 12, "candidatesTokenCount": 1, "totalTokenCount": 399}
    body = {
        "candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}],
        "usageMetadata": told,
    }
    assert plain("gemini", body).usage == Usage(input_tokens=12, output_tokens=387)


# -- nothing is dropped ------------------------------------------------------------------------------

LOGPROBS = {"content": [{"token": "Hel", "logprob": -0.5}, {"token": "lo", "logprob": -0.25}]}
NOTE = {"type": "url_citation", "url_citation": {"url": "https://x.test"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "index": 0}


def test_what_openais_form_has_no_place_for_is_kept_plain_and_streamed() -> None:
    audio = {"id": "a", "data": "AAAA", "transcript": "Hello"}
    more: dict[str, Any] = {"service_tier": "flex", "citations": ["https://x.test"]}
    usage = {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "cost": 0.5,
        "completion_tokens_details": {"audio_tokens": 7},
    }
    whole = openai(
        {"content": "Hello", "annotations": [NOTE], "audio": audio, "images": [IMAGE]}, usage=usage, **more
    )
    whole["choices"][0]["logprobs"] = LOGPROBS
    first = chunk({"content": "Hel", "audio": {**audio, "data": "AA", "transcript": "Hel"}}, **more)
    first["choices"][0]["logprobs"] = {"content": LOGPROBS["content"][:1]}
    second = chunk({"content": "lo", "audio": {"data": "AA", "transcript": "lo"}, "images": [IMAGE]}, **more)
    second["choices"][0]["logprobs"] = {"content": LOGPROBS["content"][1:]}
    third = chunk({"annotations": [NOTE]}, "stop", usage=usage)
    one, other = plain("openai", whole), streamed("openai", first, second, third)
    assert one == other
    assert one.extra == {
        "message": {"annotations": [NOTE], "audio": audio, "images": [IMAGE]},
        "choice": {"logprobs": LOGPROBS},
        "response": more,
        "usage": {"cost": 0.5, "completion_tokens_details": {"audio_tokens": 7}},
    }


def test_what_anthropics_form_has_no_place_for_is_kept_plain_and_streamed() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
    cited = {"type": "web_search_result_location", "url": "https://x.test"}
    said = {"type": "text", "text": "Hi", "citations": [cited]}
    own = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    content = [thought, hidden, search, said, own]
    usage = {"input_tokens": 1, "output_tokens": 2, "server_tool_use": {"web_search_requests": 1}}
    whole = {
        "type": "message",
        "id": "m",
        "model": "c",
        "content": content,
        "stop_reason": "tool_use",
        "usage": usage,
    }

    def begun(index: int, block: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": block}

    def added(index: int, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}

    events = (
        ANTHROPIC_START,
        begun(0, {"type": "thinking", "thinking": "", "signature": ""}),
        added(0, "thinking_delta", thinking="H"),
        added(0, "thinking_delta", thinking="m."),
        added(0, "signature_delta", signature="c2ln"),
        begun(1, hidden),
        begun(2, {**search, "input": {}}),
        added(2, "input_json_delta", partial_json='{"query": '),
        added(2, "input_json_delta", partial_json='"x"}'),
        begun(3, {"type": "text", "text": ""}),
        added(3, "citations_delta", citation=cited),
        added(3, "text_delta", text="Hi"),
        begun(4, {**own, "input": {}}),
        added(4, "input_json_delta", partial_json='{"a":1}'),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage},
        {"type": "message_stop"},
    )
    one, other = plain("anthropic", whole), streamed("anthropic", *events)
    assert one == other
    assert one.extra == {
        "message": {
            "thinking_blocks": [{"index": 0, **thought}, {"index": 1, **hidden}],
            "blocks": [{"index": 2, **search}],
            "citations": [{"block": 3, **cited}],
        },
        "usage": {"server_tool_use": {"web_search_requests": 1}},
    }
    assert (one.reasoning, one.tool_calls[0]["function"]) == ("Hm.", {"name": "f", "arguments": '{"a":1}'})


def test_what_geminis_form_has_no_place_for_is_kept_plain_and_streamed() -> None:
    image, signed = (
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"text": "Hi", "thoughtSignature": "c2ln"},
    )
    grounded = {"groundingMetadata": {"webSearchQueries": ["x"]}, "safetyRatings": [{"category": "A"}]}
    scores = [{"chosenCandidates": [{"token": "H"}]}, {"chosenCandidates": [{"token": "i"}]}]
    joined = {"chosenCandidates": [{"token": "H"}, {"token": "i"}]}

    def event(parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {"responseId": "1", "candidates": [{"content": {"parts": parts}, **more}]}

    one = plain("gemini", event([image, signed], finishReason="STOP", logprobsResult=joined, **grounded))
    other = streamed(
        "gemini",
        event([image], logprobsResult=scores[0], **grounded),
        event([signed], finishReason="STOP", logprobsResult=scores[1], **grounded),
    )
    assert one == other
    assert one.extra == {
        "message": {"parts": [image], "signatures": [{"thoughtSignature": "c2ln"}]},
        "choice": {"logprobsResult": joined},
        "response": grounded,
    }


def test_what_says_nothing_is_not_kept() -> None:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "annotations": [],
        "audio": None,
    }
    usage = {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "total_tokens": 2,
        "prompt_tokens_details": {"audio_tokens": 0},
    }
    answer = plain(
        "openai", openai(message, usage=usage, object="chat.completion", created=1, system_fingerprint=None)
    )
    assert answer.extra == {}


def test_a_content_that_is_no_text_is_read_all_the_same() -> None:
    assert plain("openai", openai({"content": {"city": "Oslo"}})).text == '{"city":"Oslo"}'
    parts = [
        {"type": "text", "text": "See "},
        {"type": "reference", "reference_ids": [1]},
        {"type": "text", "text": "it"},
    ]
    answer = plain("openai", openai({"content": parts}))
    assert (answer.text, answer.extra["message"]["content_parts"]) == ("See it", [parts[1]])
