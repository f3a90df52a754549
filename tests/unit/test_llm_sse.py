"""Bytes → server-sent events, however the bytes are cut."""

from __future__ import annotations

import pytest

from promptmill.dialects import sse
from promptmill.dialects.sse import MAX_EVENT_BYTES, Event, EventParser, EventTooLarge

CASES = {
    "LF": (b"data: a\n\ndata: b\n\n", [("", b"a"), ("", b"b")]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [("", b"a"), ("", b"b")]),
    "CR": (b"data: a\r\rdata: b\r\r", [("", b"a"), ("", b"b")]),
    "a name": (b"event: ping\ndata: {}\n\ndata: a\n\n", [("ping", b"{}"), ("", b"a")]),
    "several lines": (b"data: a\ndata\ndata: b\n\n", [("", b"a\n\nb")]),
    "no space": (b"data:a\n\n", [("", b"a")]),
    "one space only": (b"data:  a\n\n", [("", b" a")]),
    "comments": (b": hello\n\n:\n\ndata: a\n: in between\n\n", [("", b"a")]),
    "other fields": (b"id: 7\nretry: 10\nnonsense\ndata: a\n\n", [("", b"a")]),
    "a name alone": (b"event: ping\n\ndata: a\n\n", [("", b"a")]),
    "a byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
    "UTF-8": ("data: Größe 😀\n\n".encode(), [("", "Größe 😀".encode())]),
    "other line separators": (
        "data: a\u2028b\x0b\x0cc\x85\n\n".encode(),
        [("", "a\u2028b\x0b\x0cc\x85".encode())],
    ),
    "a colon": (b"data: a: b\n\n", [("", b"a: b")]),
    "nothing": (b"", []),
    "a page": (b"<html>\n\n<body>\n\n</html>\n\n", []),
}


@pytest.mark.parametrize(("sent", "expected"), CASES.values(), ids=CASES)
def test_events_are_read_however_their_bytes_are_cut(sent: bytes, expected: list[tuple[str, bytes]]) -> None:
    for size in range(1, len(sent) + 1):
        parser = EventParser()
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        events = [event for piece in [*pieces, b""] for event in parser.feed(piece)]
        assert events == [Event(*each) for each in expected]


CHUNKS = [
    b"data: a\n\n",
    b"data: \n\n",
    b"data:  b\n\n",
    b"data: c\r\n\n",
    b"data: d\n\ndata: e\n\n",
    b"event: f\n",
    b"data: g\n",
]


@pytest.mark.parametrize("first", CHUNKS)
@pytest.mark.parametrize("second", CHUNKS)
def test_a_chunk_that_is_one_event_is_read_as_if_it_came_in_two(first: bytes, second: bytes) -> None:
    whole, cut = EventParser(), EventParser()
    for chunk in (b":\n", first, second, b"data: a\n\n", b"\n"):
        events = [*cut.feed(chunk[:7]), *cut.feed(chunk[7:])]
        assert whole.feed(chunk) == events


@pytest.mark.parametrize("sent", [b"data: a", b"data: a\n", b"data: a\r\n"])
def test_the_end_of_the_response_ends_its_last_event(sent: bytes) -> None:
    parser = EventParser()
    assert parser.feed(sent) == []
    assert parser.close() == [Event("", b"a")]
    assert parser.close() == []


def test_an_event_may_have_sixteen_megabytes_and_no_more() -> None:
    line = b"data: " + b"x" * 16_383 + b"\n"
    parser = EventParser()
    (event,) = parser.feed(line * 1024 + b"\n")
    assert len(event.data) == 16 * 1024 * 1024 - 1
    parser.feed(line * 1024)
    with pytest.raises(EventTooLarge):
        parser.feed(line)


def test_a_line_without_an_end_is_not_held_for_ever() -> None:
    parser = EventParser()
    parser.feed(b"x" * MAX_EVENT_BYTES)
    with pytest.raises(EventTooLarge):
        parser.feed(b"x")


def test_empty_lines_of_data_are_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    with pytest.raises(EventTooLarge):
        EventParser().feed(b"data\n" * 101)
