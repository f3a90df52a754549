"""Whatever a provider sends, in whatever pieces: an answer or a typed error, the same for every way of cutting it."""

from __future__ import annotations

import asyncio
import tracemalloc

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile.bodies import (
    SIZES,
    bent_bytes,
    bent_values,
    changed,
    cut,
    events,
    frame,
    framed,
    loose,
    wholes,
)
from tests.hostile.given_hostile import SOME, plain, saying, streamed
from tests.unit.recordings import PROVIDERS

STATUSES = st.sampled_from([200, 200, 200, 400, 404, 429, 500, 503])
TYPES = st.sampled_from(["application/json", "text/event-stream", "application/x-ndjson", "text/html", ""])
ENDS = st.sampled_from([None, None, httpx.ReadError("lost"), httpx.RemoteProtocolError("cut")])
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)

of_every_provider = pytest.mark.parametrize("provider", PROVIDERS)


@of_every_provider
@pytest.mark.parametrize("bent", [bent_bytes, bent_values])
def test_whatever_comes_is_an_answer_or_a_typed_error(provider: str, bent: object) -> None:
    @SOME
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        body = data.draw(bent(provider))  # type: ignore[operator]
        status, end, kind = data.draw(STATUSES), data.draw(ENDS), data.draw(TYPES)
        pieces = cut(body, data.draw(SIZES))
        for call in (plain, streamed):
            outcome = asyncio.run(call(saying(provider, pieces, status=status, end=end, kind=kind)))
            in_one = asyncio.run(call(saying(provider, [body], status=status, end=end, kind=kind)))
            assert outcome == in_one

    holds()


@st.composite
def noise(draw: st.DrawFn) -> bytes:
    """Frames that say nothing."""
    nothing = st.sampled_from([b"", b" ", b"null", b"0", b'"ok"', b"[]", b"ping", b"\xff"])
    comment = st.sampled_from(
        [b": ping\n\n", b"\n", b"\r\n\r\n", b"id: 7\n\n", b"event: ping\n\n", b"retry: 9\n"]
    )
    return b"".join(draw(st.lists(nothing.map(frame) | comment, max_size=3)))


@of_every_provider
def test_what_says_nothing_never_costs_a_second_call(provider: str) -> None:
    @SOME
    @given(st.lists(WORDS, min_size=1, max_size=4), st.data())
    def holds(texts: list[str], data: st.DataObject) -> None:
        body = data.draw(noise())
        for event in events(provider, texts):
            body += frame(loose(event)) + data.draw(noise())
        body += data.draw(st.sampled_from([b"", frame(b"[DONE]")]))
        assert_answers(provider, body, "".join(texts), data)

    holds()


@of_every_provider
def test_the_frames_are_the_hosts_to_choose(provider: str) -> None:
    @SOME
    @given(st.lists(WORDS, min_size=1, max_size=4), st.data())
    def holds(texts: list[str], data: st.DataObject) -> None:
        mark = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf", b"\n \n"]))
        assert_answers(provider, mark + framed(events(provider, texts), data.draw), "".join(texts), data)
        assert_answers(provider, mark + loose(wholes(provider, "".join(texts))), "".join(texts), data)

    holds()


@of_every_provider
def test_a_text_that_was_cut_anywhere_is_put_together_again(provider: str) -> None:
    """In the middle of a character, too: as bytes, and as halves that are escaped."""

    @SOME
    @given(WORDS, st.integers(0, 40), st.booleans(), st.data())
    def holds(text: str, at: int, as_bytes: bool, data: st.DataObject) -> None:
        units = text.encode("utf-16-le", "surrogatepass")
        at = min(at, len(units) // 2) * 2
        first, second = (units[:at], units[at:])
        sent = [part.decode("utf-16-le", "surrogatepass") for part in (first, second)]
        body = b"".join(frame(loose(event)) for event in events(provider, sent))
        if as_bytes:
            raw = text.encode()
            middle = min(at, len(raw))
            body = b"".join(frame(loose(event)) for event in events(provider, ["FIRST", "SECOND"]))
            body = body.replace(b"FIRST", escaped(raw[:middle])).replace(b"SECOND", escaped(raw[middle:]))
        assert_answers(provider, body, text, data)

    holds()


def escaped(raw: bytes) -> bytes:
    """Bytes of a text in JSON: what would end it, or the line, is escaped."""
    return b"".join(b"\\u%04x" % byte if byte < 32 or byte in b'"\\' else bytes([byte]) for byte in raw)


def assert_answers(provider: str, body: bytes, text: str, data: st.DataObject) -> None:
    pieces = cut(body, data.draw(SIZES))
    kind = data.draw(TYPES)
    for call in (plain, streamed):
        assert asyncio.run(call(saying(provider, pieces, kind=kind))) == ("answer", text), call


@of_every_provider
@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize(
    "endless",
    [
        *(b"x", b"\n", b" ", b"{", b"[", b'{"a":', b"data: ", b"data: {}\n\n", b"data\n", b": x\n", b"[],"),
        *(b"\xff", b'"\\ud83d', b"event: x\n", b'{"choices":[]}\n'),
    ],
)
def test_what_does_not_end_takes_bounded_memory(provider: str, status: int, endless: bytes) -> None:
    pieces = [endless * (16_384 // len(endless))] * 6
    tracemalloc.start()
    try:
        for call in (plain, streamed):
            assert asyncio.run(call(saying(provider, pieces, status=status)))[0] != "answer"
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 3_000_000


@of_every_provider
def test_a_stream_that_breaks_is_whole_or_a_failure(provider: str) -> None:
    """Never half an answer: what is given as one is all that was sent."""

    @SOME
    @given(st.lists(WORDS, min_size=1, max_size=5), st.integers(0, 2_000), st.booleans())
    def holds(texts: list[str], at: int, says_why_in_each: bool) -> None:
        told = events(provider, texts)
        if says_why_in_each:
            for event in told:
                for choice in event.get("choices", ()):
                    choice["finish_reason"] = "stop"
                for candidate in event.get("candidates", ()):
                    candidate["finishReason"] = "STOP"
        body = b"".join(frame(loose(event)) for event in told)
        broken = saying(provider, [body[:at]], end=httpx.ReadError("lost"))
        kind, text = asyncio.run(streamed(broken))
        assert kind == "ProviderUnreachable" or (kind, text) == ("answer", "".join(texts))

    holds()


@of_every_provider
def test_a_refusal_is_what_its_code_says_whatever_else_is_in_it(provider: str) -> None:
    @SOME
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        rest = changed({"message": "Empty", "param": None, "details": [{"a": 1}]}, data.draw)
        rest = rest if isinstance(rest, dict) else {"message": rest}
        body = loose({"error": {"code": "insufficient_quota", **rest}})
        body = data.draw(st.sampled_from([body, frame(body), b"[" + body + b"]", b"\xef\xbb\xbf" + body]))
        pieces = cut(body, data.draw(SIZES))
        for call in (plain, streamed):
            assert asyncio.run(call(saying(provider, pieces, status=429)))[0] == "QuotaExhausted"

    holds()
