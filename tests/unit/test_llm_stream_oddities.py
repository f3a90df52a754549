"""What hosts do to their streams that no standard tells: the answer is that of the plain call, all the same."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_core import to_json

from client import errors
from promptmill.dialects import ChatAnswer, Delta
from promptmill.dialects.answers import ToolCallPart
from promptmill.dialects.stream import ChatStream
from tests.unit.recordings import PROVIDERS, route

DONE = b"data: [DONE]\n\n"


def event(data: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % to_json(data)


def calls(*pieces: dict[str, Any]) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"tool_calls": list(pieces)}}]})


def call(call_id: str, name: str, arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def ended(reason: str = "stop") -> bytes:
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


def streamed(provider: str, *chunks: bytes) -> tuple[ChatAnswer, list[Delta]]:
    stream = ChatStream(route(provider), {})
    told = [delta for chunk in chunks for delta in stream.feed(chunk)]
    return stream.answer(), told


def pieces(told: list[Delta]) -> list[ToolCallPart]:
    return [part for delta in told for part in delta.tool_calls]


@pytest.mark.parametrize("index", [{}, {"index": 0}])
def test_calls_that_share_an_index_are_told_apart_by_their_ids(index: dict[str, int]) -> None:
    answer, told = streamed(
        "openai",
        calls(call("a", "weather", '{"city": "Oslo"}', **index)),
        calls(call("b", "time", "{", **index)),
        calls({"function": {"arguments": "}"}, **index}),
        ended() + DONE,
    )
    assert answer.tool_calls == [call("a", "weather", '{"city": "Oslo"}'), call("b", "time")]
    assert [part.index for part in pieces(told)] == [0, 1, 1]


def test_an_id_that_changes_with_every_piece_is_still_one_call() -> None:
    answer, told = streamed(
        "openai",
        calls(call("a", "time", "{", index=0)),
        calls({"index": 0, "id": "b", "function": {"arguments": "}"}}),
        ended() + DONE,
    )
    assert [made["function"] for made in answer.tool_calls] == [{"name": "time", "arguments": "{}"}]
    assert [part.index for part in pieces(told)] == [0, 0]


def test_calls_without_an_index_are_numbered_for_readers_and_have_the_ids_of_the_answer() -> None:
    parts: list[Any] = [{"functionCall": {"name": name, "args": {}}} for name in ("weather", "time")]
    candidate = {"content": {"parts": parts}, "finishReason": "STOP"}
    answer, told = streamed("gemini", event({"candidates": [candidate]}))
    ids = [made["id"] for made in answer.tool_calls]
    assert [(part.index, part.id) for part in pieces(told)] == list(enumerate(ids))
    again, _ = streamed("gemini", event({"candidates": [candidate]}))
    assert len({*ids, *(made["id"] for made in again.tool_calls)}) == 4  # unique over a conversation


def test_the_input_of_a_tool_that_runs_at_the_provider_is_no_call() -> None:
    def block(index: int, **fields: Any) -> bytes:
        return event({"type": "content_block_start", "index": index, "content_block": fields})

    def json(index: int, part: str) -> bytes:
        delta = {"type": "input_json_delta", "partial_json": part}
        return event({"type": "content_block_delta", "index": index, "delta": delta})

    search = block(0, type="server_tool_use", id="s", name="web_search", input={}) + json(0, '{"query": "x"}')
    own = block(1, type="tool_use", id="t", name="time", input={}) + json(1, "{}")
    end = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
    answer, told = streamed("anthropic", search, own, end)
    assert answer.tool_calls == [call("t", "time")]
    assert [part.index for part in pieces(told)] == [0, 0]
    said = block(1, type="text", text="Found")
    answer, told = streamed("anthropic", search, said, end)
    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("Found", [], "stop")
    assert not pieces(told)


def test_of_several_answers_side_by_side_the_first_is_read() -> None:
    def piece(index: int, text: str, reason: str | None = None) -> bytes:
        return event({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": reason}]})

    sent = piece(0, "Hel"), piece(1, "Good"), piece(0, "lo", "stop"), piece(1, "bye", "length")
    answer, told = streamed("openai", *sent, DONE)
    assert (answer.text, answer.finish_reason) == ("Hello", "stop")
    assert "".join(delta.text for delta in told) == "Hello"


@pytest.mark.parametrize("together", [True, False])
def test_what_comes_behind_the_end_is_not_read(together: bool) -> None:
    sent = [
        event({"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}),
        DONE,
        b"data: bye\n\n",
    ]
    answer, _ = streamed("openai", *([b"".join(sent)] if together else sent))
    assert answer.text == "Hello"


def test_an_error_inside_a_choice_is_the_error_it_names() -> None:
    failed = {"index": 0, "finish_reason": "error", "error": {"code": 429, "message": "Slow down"}}
    with pytest.raises(errors.RateLimited, match="Slow down"):
        streamed("openai", event({"choices": [{**failed, "delta": {"content": ""}}]}))
    body = to_json({"choices": [{**failed, "message": {"role": "assistant", "content": "Hel"}}]})
    with pytest.raises(errors.RateLimited, match="Slow down"):
        PROVIDERS["openai"].parse_chat(body, {}, "m")
