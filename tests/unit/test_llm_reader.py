"""Whatever the frames and the characters are, the answer is read, plain and streamed alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic_core import to_json

from client import errors
from promptmill.dialects import ChatAnswer, Delta
from promptmill.dialects.reader import Halves, read_json, read_loosely, whole
from promptmill.dialects.refusals import read_refusal
from promptmill.dialects.stream import ChatStream, read_chat
from tests.unit.recordings import PROVIDERS, route

DONE = b"data: [DONE]\n\n"


def whole_answer(provider: str, text: str) -> dict[str, Any]:
    if provider == "openai":
        return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    if provider == "anthropic":
        content = [{"type": "text", "text": text}]
        return {"type": "message", "content": content, "stop_reason": "end_turn"}
    return {"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}]}


def pieces(provider: str, *texts: str) -> list[dict[str, Any]]:
    """The events of a stream that says this; the last one says that it has ended."""
    if provider == "openai":
        said = [{"choices": [{"delta": {"content": text}}]} for text in texts]
        return [*said, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]
    if provider == "anthropic":
        said_: list[dict[str, Any]] = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
            for text in texts
        ]
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
        return [*said_, end, {"type": "message_stop"}]
    parts: list[dict[str, Any]] = [
        {"candidates": [{"content": {"parts": [{"text": text}]}}]} for text in texts
    ]
    parts[-1]["candidates"][0]["finishReason"] = "STOP"
    return parts


def frame(data: object) -> bytes:
    return b"data: %b\n\n" % (data if isinstance(data, bytes) else to_json(data))


def loose(data: object) -> bytes:
    """JSON as Python writes it: half a character as an escape."""
    return json.dumps(data).encode()


def streamed(provider: str, body: bytes, size: int = 7) -> tuple[ChatAnswer, list[Delta]]:
    stream = ChatStream(route(provider), {})
    told = [delta for at in range(0, len(body), size) for delta in stream.feed(body[at : at + size])]
    told += stream.close()
    return stream.answer(), told


def said(provider: str, body: bytes) -> set[str]:
    """What the answer is as a plain one, as a stream however it is cut, and to those who follow the stream."""
    texts = {read_chat(route(provider), {}, body).text}
    for size in (1, 7, 100_000):
        answer, told = streamed(provider, body, size)
        texts |= {answer.text, "".join(delta.text for delta in told)}
    return texts


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "body",
    [
        lambda name: b"".join(map(frame, pieces(name, "Hel", "lo"))),
        lambda name: b"".join(map(frame, pieces(name, "Hel", "lo"))) + DONE,
        lambda name: b"\n".join(map(to_json, pieces(name, "Hel", "lo"))),
        lambda name: b"\n".join(map(to_json, pieces(name, "Hel", "lo"))) + b"\n",
        lambda name: to_json(pieces(name, "Hel", "lo")),
        lambda name: to_json(pieces(name, "Hel", "lo"), indent=1),
        lambda name: b"[" + b"\n,\r\n".join(map(to_json, pieces(name, "Hel", "lo"))) + b"]",
        lambda name: to_json(whole_answer(name, "Hello")),
        lambda name: b"\xef\xbb\xbf \n" + to_json(whole_answer(name, "Hello"), indent=2),
        lambda name: to_json(whole_answer(name, "Hello"), indent=2).replace(b"\n  ", b"\n"),
        lambda name: frame(whole_answer(name, "Hello")) + DONE,
        lambda name: frame(to_json(whole_answer(name, "Hello"))),
    ],
)
def test_an_answer_is_read_in_the_frames_that_it_has(provider: str, body: Any) -> None:
    assert said(provider, body(provider)) == {"Hello"}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "nothing",
    [
        b"",
        b" ",
        b"\t",
        b"null",
        b"0",
        b"true",
        b'"ping"',
        b"[]",
        b"[1]",
        b"[PING]",
        b"ping",
        b"\xff",
        b"\xef\xbb\xbf",
    ],
)
def test_a_frame_without_content_adds_nothing(provider: str, nothing: bytes) -> None:
    first, *rest = map(frame, pieces(provider, "Hel", "lo"))
    empty = frame(nothing) + b"event: ping\n" + frame(nothing)
    assert said(provider, empty + first + empty + b"".join(rest) + empty) == {"Hello"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_in_one_object_behind_its_pieces_is_not_said_twice(provider: str) -> None:
    if provider == "gemini":  # which has no other form for the whole
        return
    first, *_ = map(frame, pieces(provider, "Hello"))
    assert said(provider, first + frame(whole_answer(provider, "Hello"))) == {"Hello"}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"Hi \\ud83d", "Hi \ufffd"),
        (b"Hi \\ude00!", "Hi \ufffd!"),
        (b"Hi \\ud83d\\ude00!", "Hi \U0001f600!"),
        (b"Hi \xf0\x9f", "Hi \ufffd"),
        (b"Hi \xe9!", "Hi \ufffd!"),
        (b"Hi \xed\xa0\xbd!", "Hi \ufffd\ufffd\ufffd!"),
        (b"a\x00b\x1bc\x7f", "a\ufffdb\ufffdc\x7f"),
        (b"\xef\xbb\xbfHi", "\ufeffHi"),
    ],
)
def test_what_is_no_character_is_replaced_and_the_rest_is_kept(provider: str, sent: bytes, read: str) -> None:
    body = to_json(whole_answer(provider, "X")).replace(b'"X"', b'"%b"' % sent)
    assert read_chat(route(provider), {}, body).text == read
    told = b"".join(map(frame, pieces(provider, "X"))).replace(b'"X"', b'"%b"' % sent)
    assert said(provider, told) == {read}
    assert said(provider, body.replace(b"{", b"\xef\xbb\xbf{", 1)) == {read}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("first", "second", "read"),
    [
        (b"Hi \\ud83d", b"\\ude00!", "Hi \U0001f600!"),
        (b"Hi \xf0\x9f", b"\x98\x80!", "Hi \U0001f600!"),
        (b"Hi \xf0", b"\x9f\x98\x80!", "Hi \U0001f600!"),
        (b"Hi \xc2", b"\x80!", "Hi \x80!"),
        (b"Hi \xc2", b"\x80", "Hi \x80"),
        (b"Hi \\ud83d", b"\\udcc2", "Hi \U0001f4c2"),
        (b"Hi \xe2\x82", b"\xac", "Hi \u20ac"),
        (b"Hi \\ud83d", b"there", "Hi \ufffdthere"),
        (b"Hi \\ud83d", b"\\ud83d\\ude00", "Hi \ufffd\U0001f600"),
        (b"Hi ", b"\\ude00!", "Hi \ufffd!"),
        (b"\\ud83d", b"\\ud83d", "\ufffd\ufffd"),
    ],
)
def test_halves_in_two_events_are_joined(provider: str, first: bytes, second: bytes, read: str) -> None:
    sent = b"".join(map(frame, pieces(provider, "X", "Y")))
    sent = sent.replace(b'"X"', b'"%b"' % first).replace(b'"Y"', b'"%b"' % second)
    assert said(provider, sent) == {read}


def test_halves_are_joined_in_reasoning_and_in_the_arguments_of_a_call() -> None:
    def piece(**delta: Any) -> bytes:
        return frame(loose({"choices": [{"delta": delta}]}))

    def call(arguments: str) -> list[dict[str, Any]]:
        return [{"index": 0, "id": "t", "function": {"name": "f", "arguments": arguments}}]

    body = piece(reasoning="a\ud83d") + piece(tool_calls=call('{"a": "\ud83d'))
    body += piece(reasoning="\ude00b\ud83d") + piece(tool_calls=call('\ude00"}'))
    answer, told = streamed("openai", body + DONE)
    assert answer.reasoning == "a\U0001f600b\ufffd" == "".join(delta.reasoning for delta in told)
    assert answer.tool_calls[0]["function"]["arguments"] == '{"a": "\U0001f600"}'


def test_numbers_that_are_none_and_depth_without_end_harm_nobody() -> None:
    body = b'{"a": [NaN, -Infinity, 1e999, 1.5], "b": %b, "c": "\\ud83d"}' % (b"9" * 5_000)
    assert read_json(body) == {"a": [None, None, None, 1.5], "b": None, "c": "\ufffd"}
    for deep in (b"[" * 100_000, b'{"a":' * 300 + b"1" + b"}" * 300):
        with pytest.raises(ValueError, match="it is nested"):
            read_json(deep)
    with pytest.raises(ValueError, match="nested too deeply"):
        Halves().join(read_loosely(b'{"a":' * 300 + b"1" + b"}" * 300))


def test_halves_that_stand_for_bytes_become_what_the_bytes_are() -> None:
    """Python writes them so where it was handed bytes for text."""
    assert whole("\udcf0\udc9f\udc98\udc80 \udce9 \ud83d\udc80") == "\U0001f600 \ufffd \U0001f480"


QUOTA = b'{"error": {"message": "You exceeded it \xff", "type": "x", "code": "insufficient_quota"}}'


@pytest.mark.parametrize(
    "body",
    [
        QUOTA,
        b"\xef\xbb\xbf" + QUOTA,
        QUOTA.replace(b"\xff", b"\\ud83d"),
        QUOTA.replace(b"\xff", b"\x01"),
        b"[" + QUOTA + b"]",
        b"data: " + QUOTA + b"\n\n",
        b"event: error\ndata: " + QUOTA + b"\n\n" + DONE,
        b": hello\n\ndata: \n\ndata: " + QUOTA + b"\n\n",
        QUOTA + b"\n" + QUOTA,
        b'{"error": {"code": "insufficient_quota", "message": "You exceeded it \xff \\ud83d \x01\n'
        + b"x" * 90_000,
        b'{"error": true, "code": "insufficient_quota", "message": "You exceeded it"}',
    ],
)
def test_a_quota_error_is_one_whatever_its_characters_and_frames(body: bytes) -> None:
    error = PROVIDERS["openai"].map_error(429, {}, body, "m")
    assert type(error) is errors.QuotaExhausted
    assert "You exceeded it" in str(error)


ERRORS = [
    ({"error": {"type": "rate_limit_error", "message": "Slow"}}, errors.RateLimited),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Full"}}, errors.Overloaded),
    ({"error": {"code": 503, "status": "UNAVAILABLE", "message": "Full"}}, errors.Overloaded),
    ({"error": {"status": "RESOURCE_EXHAUSTED", "message": "Slow"}}, errors.RateLimited),
    ({"error": {"code": "insufficient_quota", "message": "Empty"}}, errors.QuotaExhausted),
    ({"error": {"code": "context_length_exceeded", "message": "Long"}}, errors.ContextTooLong),
    ({"object": "error", "code": 400, "message": "Bad"}, errors.BadRequest),
    ({"error": True, "code": 401, "message": "Key"}, errors.AuthenticationFailed),
    ({"success": False, "errors": [{"code": 429, "message": "Slow"}]}, errors.RateLimited),
    ({"error": "the upstream broke"}, errors.ServerError),
    ({"error": {"code": 429, "message": "Slow"}, "choices": [{}], "content": 3}, errors.RateLimited),
]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(("told", "kind"), ERRORS)
@pytest.mark.parametrize("indent", [None, 1])
def test_an_error_in_a_200_keeps_its_class_in_every_dialect_and_frame(
    provider: str, told: dict[str, Any], kind: type[errors.ProviderError], indent: int | None
) -> None:
    body = to_json(told, indent=indent)
    framed = [
        body,
        frame(to_json(told)),
        to_json([told]),
        frame(to_json([told])),
        b"event: error\n" + frame(to_json(told)),
    ]
    with pytest.raises(errors.ProviderError) as raised:
        PROVIDERS[provider].parse_chat(body, {}, "m")
    assert type(raised.value) is kind
    for sent in framed:
        for read in (said, streamed):
            with pytest.raises(errors.ProviderError) as raised:
                read(provider, sent)
            assert type(raised.value) is kind


@pytest.mark.parametrize(
    "data", [b"the upstream broke", b'"the upstream broke"', b'{"message": "the upstream broke"}']
)
def test_an_event_that_is_called_error_is_one(data: bytes) -> None:
    with pytest.raises(errors.ServerError, match="the upstream broke"):
        streamed("anthropic", b"event: error\n" + frame(data))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_came_before_an_error_in_its_chunk_is_told(provider: str) -> None:
    stream = ChatStream(route(provider), {})
    body = b"".join(
        [frame(pieces(provider, "Hel", "lo")[0]), frame({"error": {"code": 429, "message": "Slow"}})]
    )
    assert [delta.text for delta in stream.feed(body)] == ["Hel"]
    for ask in (stream.check, stream.answer):
        with pytest.raises(errors.RateLimited):
            ask()


def broken(provider: str, *data: dict[str, Any]) -> bool:
    """Whether a connection that breaks here is forgiven."""
    stream = ChatStream(route(provider), {})
    stream.feed(b"".join(map(frame, data)))
    return stream.is_whole


def test_a_break_is_forgiven_only_where_nothing_but_usage_can_follow() -> None:
    def openai(text: str, reason: str | None) -> dict[str, Any]:
        return {"choices": [{"delta": {"content": text}, "finish_reason": reason}]}

    usage = {"choices": [], "usage": {"prompt_tokens": 9}}
    assert broken("openai", openai("Hello", None), openai("", "stop"))
    assert broken("openai", openai("Hello", None), openai("", "stop"), usage)
    assert broken("openai", openai("Hello", "stop"), usage)
    assert not broken("openai", openai("Hello", None))
    assert not broken("openai", openai("Hel", "stop"))  # a proxy in front of Gemini: every event has a reason
    assert not broken("openai", openai("Hel", "stop"), openai("lo", "stop"))
    assert not broken("openai", openai("Hel", None), openai("", "stop"), openai("lo", None))
    assert not broken("openai", openai("", "stop"), openai("Hel", None), openai("", "stop"))
    assert broken("anthropic", *pieces("anthropic", "Hello")[:-1])
    assert not broken("gemini", *pieces("gemini", "Hello"))


def test_a_clean_end_is_a_success_wherever_the_reason_to_finish_was_told() -> None:
    stop, more = {"candidates": [{"finishReason": "STOP"}]}, pieces("gemini", "lo")[0]
    more["candidates"][0].pop("finishReason")
    assert said("gemini", frame(stop) + frame(more)) == {"lo"}
    first, end = pieces("openai", "Hello")
    assert said("openai", frame(end) + frame(first)) == {"Hello"}


def test_a_refusal_that_is_cut_is_read_as_far_as_it_goes() -> None:
    cut = b'{"error": {"code": "context_length_exceeded", "message": "Too long: \\ud83d ' + b"x" * 70_000
    refusal = read_refusal(cut[:65_536])
    assert refusal.code == "context_length_exceeded"
    assert (refusal.message or "").startswith("Too long: \ufffd xxx")
