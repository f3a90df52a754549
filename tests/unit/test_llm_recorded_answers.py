"""Every recorded answer, plain and streamed: the same answer from both, or the same typed error."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from client import errors
from client.wire.schemas import Usage
from promptmill.dialects import ChatAnswer
from promptmill.dialects.stream import ChatStream
from tests.unit.recordings import KEY, PROVIDERS, cases, recorded, route

USAGE = {
    "openai": Usage(input_tokens=9, output_tokens=4, cached_input_tokens=0, reasoning_tokens=0),
    "anthropic": Usage(input_tokens=14, output_tokens=4, cached_input_tokens=3, cache_write_tokens=2),
    "gemini": Usage(input_tokens=9, output_tokens=7, cached_input_tokens=5, reasoning_tokens=3),
}
SAME = [  # the plain answer, and the stream that gives it
    *(
        (provider, "200_text", stream)
        for provider in PROVIDERS
        for stream in ("stream_text", "stream_keep_alive")
    ),
    *((provider, "200_tools", "stream_tools") for provider in PROVIDERS),
    ("openai", "200_reasoning", "stream_reasoning"),
    ("openai", "200_refusal", "stream_refusal"),
    ("anthropic", "200_thinking", "stream_thinking"),
    ("gemini", "200_thoughts", "stream_thoughts"),
]
UNANSWERED = {
    ("openai", "200_filtered"): errors.ContentFiltered,
    ("openai", "200_no_choices"): errors.MalformedResponse,
    ("openai", "200_openrouter_error"): errors.ServerError,
    ("openai", "200_truncated"): errors.MalformedResponse,
    ("openai", "200_page"): errors.MalformedResponse,
    ("openai", "stream_cut"): errors.MalformedResponse,
    ("openai", "stream_cut_in_an_event"): errors.MalformedResponse,
    ("openai", "stream_error"): errors.ServerError,
    ("openai", "stream_error_of_words"): errors.ServerError,
    ("openai", "stream_openrouter_error"): errors.RateLimited,
    ("openai", "stream_page"): errors.MalformedResponse,
    ("anthropic", "200_refusal"): errors.ContentFiltered,
    ("anthropic", "200_error"): errors.Overloaded,
    ("anthropic", "200_no_content"): errors.MalformedResponse,
    ("anthropic", "200_truncated"): errors.MalformedResponse,
    ("anthropic", "200_page"): errors.MalformedResponse,
    ("anthropic", "stream_cut"): errors.MalformedResponse,
    ("anthropic", "stream_error"): errors.Overloaded,
    ("anthropic", "stream_refusal"): errors.ContentFiltered,
    ("anthropic", "stream_page"): errors.MalformedResponse,
    ("gemini", "200_prompt_blocked"): errors.ContentFiltered,
    ("gemini", "200_safety"): errors.ContentFiltered,
    ("gemini", "200_malformed_call"): errors.MalformedResponse,
    ("gemini", "200_no_candidates"): errors.MalformedResponse,
    ("gemini", "200_truncated"): errors.MalformedResponse,
    ("gemini", "200_page"): errors.MalformedResponse,
    ("gemini", "stream_cut"): errors.MalformedResponse,
    ("gemini", "stream_error"): errors.Overloaded,
    ("gemini", "stream_prompt_blocked"): errors.ContentFiltered,
    ("gemini", "stream_safety"): errors.ContentFiltered,
    ("gemini", "stream_page"): errors.MalformedResponse,
}
CUT_SHORT = [("anthropic", "200_refusal_in_the_middle"), ("gemini", "200_safety_in_the_middle")]


def answer(provider: str, case: str, chunk_bytes: int = 7) -> ChatAnswer:
    """What the recording says: as a plain answer, or as a stream in chunks that split its characters."""
    _, headers, body = recorded(provider, case)
    if case.startswith("200"):
        return PROVIDERS[provider].parse_chat(body, headers, "m")
    stream = ChatStream(route(provider), headers)
    for start in range(0, len(body), chunk_bytes):
        stream.feed(body[start : start + chunk_bytes])
    return stream.answer()


def comparable(given: ChatAnswer) -> ChatAnswer:
    """A call's arguments are JSON as text, and the same text means the same with other spaces. Gemini's calls have no
    ids: those that are made up differ between answers."""
    calls = json.loads(json.dumps(given.tool_calls))
    for number, call in enumerate(calls):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        if re.fullmatch(r"call_[0-9a-f]{24}", call["id"]):
            call["id"] = f"made up {number}"
    return replace(given, tool_calls=calls)


@pytest.mark.parametrize(("provider", "plain", "stream"), SAME)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 100_000])
def test_a_stream_adds_up_to_the_plain_answer(
    provider: str, plain: str, stream: str, chunk_bytes: int
) -> None:
    assert comparable(answer(provider, stream, chunk_bytes)) == comparable(answer(provider, plain))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_is_read_whole(provider: str) -> None:
    said = answer(provider, "200_text")
    assert (said.text, said.finish_reason, said.reasoning) == ("Héllo wörld", "stop", None)
    assert said.usage == USAGE[provider]
    assert said.response_id
    assert said.model != "m"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_calls_of_tools_have_the_neutral_form(provider: str) -> None:
    said = comparable(answer(provider, "200_tools"))
    assert said.finish_reason == "tool_calls"
    assert [call["type"] for call in said.tool_calls] == ["function", "function"]
    assert [call["function"] for call in said.tool_calls] == [
        {"name": "weather", "arguments": {"city": "Oslo"}},
        {"name": "time", "arguments": {}},
    ]
    assert len({call["id"] for call in said.tool_calls}) == 2


@pytest.mark.parametrize(
    ("provider", "case"),
    [("openai", "200_reasoning"), ("anthropic", "200_thinking"), ("gemini", "200_thoughts")],
)
def test_reasoning_is_kept_apart_from_the_text(provider: str, case: str) -> None:
    said = answer(provider, case)
    assert (said.text, said.reasoning) == ("4", "2 and 2 is 4.")


@pytest.mark.parametrize(("provider", "case"), CUT_SHORT)
def test_an_answer_that_a_filter_cut_short_is_kept(provider: str, case: str) -> None:
    said = answer(provider, case)
    assert (said.text, said.finish_reason) == ("First you", "content_filter")


@pytest.mark.parametrize(("provider", "case"), UNANSWERED)
def test_what_is_no_answer_is_a_typed_error(provider: str, case: str) -> None:
    with pytest.raises(errors.ProviderError) as raised:
        answer(provider, case)
    error = raised.value
    assert type(error) is UNANSWERED[provider, case]
    assert f"{provider}/m" in str(error)
    assert str(error).endswith(".")
    assert ("was cut off" in str(error)) is ("_cut" in case)
    assert KEY not in json.dumps(error.to_wire())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_came_before_a_cut_was_told_and_so_was_its_cost(provider: str) -> None:
    _, headers, body = recorded(provider, "stream_cut")
    stream = ChatStream(route(provider), headers)
    assert "".join(delta.text for delta in stream.feed(body)) == "Héllo"
    assert stream.usage.input_tokens == (None if provider == "openai" else USAGE[provider].input_tokens)
    assert not stream.is_over


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_stream_says_that_it_is_over(provider: str) -> None:
    _, headers, body = recorded(provider, "stream_text")
    stream = ChatStream(route(provider), headers)
    stream.feed(body)
    assert stream.is_over
    assert stream.feed(body) == []


def streamed(sent: bytes) -> ChatAnswer:
    stream = ChatStream(route("openai"), {})
    stream.feed(sent)
    return stream.answer()


def test_the_last_event_may_lack_its_empty_line() -> None:
    said = b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n'
    answer = streamed(said + b'data: {"choices": [], "usage": {"prompt_tokens": 9}}')
    assert (answer.text, answer.usage.input_tokens) == ("a", 9)
    assert streamed(said + b'data: {"choi').text == "a"


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"data: [DONE]\n\n", errors.MalformedResponse),
        (b'{"choices": []}', errors.MalformedResponse),
        (b"data: [1]\n\n", errors.MalformedResponse),
        (b'event: error\ndata: {"message": "no", "code": 429}\n\n', errors.RateLimited),
    ],
)
def test_a_stream_that_says_nothing_is_no_answer(sent: bytes, kind: type[errors.ProviderError]) -> None:
    with pytest.raises(kind):
        streamed(sent)


def test_an_event_without_an_end_is_not_held_for_ever() -> None:
    stream = ChatStream(route("openai"), {})
    stream.feed(b"data: " + b"x" * 16_000_000)
    with pytest.raises(errors.MalformedResponse, match="an event of more than"):
        stream.feed(b"x" * 1_000_000)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_recorded_answer_is_tested(provider: str) -> None:
    tested = {case for name, plain, stream in SAME for case in (plain, stream) if name == provider}
    tested |= {case for name, case in [*UNANSWERED, *CUT_SHORT] if name == provider}
    assert set(cases(provider, "200") + cases(provider, "stream")) == tested
