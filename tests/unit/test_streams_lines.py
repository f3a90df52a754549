"""What runs say, put together: when it is taken, and what of it is kept. The clock is the test's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from pydantic_core import from_json

from promptmill.dialects import Delta
from promptmill.dialects.answers import ToolCallPart
from worker.streams import lines
from worker.streams.lines import PIECE_CHARS, WAIT_S, Coalescer, Line


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def coalescer(clock: Clock) -> Coalescer:
    return Coalescer(clock)


def told(rows: Iterable[Any]) -> list[tuple[int, dict[str, Any]]]:
    """The number and the event of each row."""
    ids, messages = zip(*(message.split(b" ", 1) for _, message in rows), strict=True)
    return [(int(id_.split(b"-")[1]), from_json(text)) for id_, text in zip(ids, messages, strict=True)]


def begun(coalescer: Coalescer, *job_ids: str) -> list[Line]:
    """Lines whose first words are on their way."""
    lines = [Line(job_id, 7) for job_id in job_ids]
    for line in lines:
        coalescer.add(line, Delta(text="first"))
    coalescer.take()
    return lines


def test_the_first_words_do_not_wait(coalescer: Coalescer) -> None:
    assert coalescer.wait_s() is None
    line = Line("a", 7)
    assert coalescer.add(line, Delta(text="Hi"))
    assert coalescer.wait_s() == 0
    taken, rows = coalescer.take()
    assert taken == [line]
    assert rows == [("a", b'7-1 {"kind":"delta","text":"Hi"}')]
    assert told(rows) == [(1, {"kind": "delta", "text": "Hi"})]
    assert coalescer.wait_s() is None


def test_later_words_wait_for_each_other_and_all_lines_go_together(
    coalescer: Coalescer, clock: Clock
) -> None:
    one, two = begun(coalescer, "a", "b")
    assert coalescer.add(one, Delta(text="x"))
    clock.now_s += WAIT_S / 2
    assert not coalescer.add(one, Delta(text="y", reasoning="because"))
    assert not coalescer.add(two, Delta(text="z"))
    assert coalescer.wait_s() == pytest.approx(WAIT_S / 2)
    assert coalescer.take() == ([], [])
    clock.now_s += WAIT_S / 2 + 1e-6
    assert coalescer.wait_s() == 0
    assert told(coalescer.take()[1]) == [
        (2, {"kind": "delta", "text": "xy", "reasoning": "because"}),
        (2, {"kind": "delta", "text": "z"}),
    ]


def test_many_words_do_not_wait_and_leave_the_others_alone(coalescer: Coalescer) -> None:
    one, two = begun(coalescer, "a", "b")
    coalescer.add(one, Delta(text="x"))
    assert coalescer.add(two, Delta(text="y" * PIECE_CHARS))
    taken, rows = coalescer.take()
    assert taken == [two]
    assert [job_id for job_id, _ in rows] == ["b"]
    assert coalescer.wait_s() == pytest.approx(WAIT_S)


def test_what_says_nothing_is_no_event(coalescer: Coalescer) -> None:
    assert not coalescer.add(Line("a", 7), Delta(finish_reason="stop"))
    assert coalescer.wait_s() is None


def test_a_run_that_said_nothing_has_begun_all_the_same(coalescer: Coalescer) -> None:
    line = Line("a", 7)
    coalescer.hurry(line)
    assert coalescer.take()[1] == [("a", b"7-1 ")]
    assert line.last_id == ""


def test_pieces_of_tool_calls_are_in_openais_form(coalescer: Coalescer) -> None:
    first = ToolCallPart(index=0, id="c1", name="look", arguments="")
    coalescer.add(Line("a", 7), Delta(tool_calls=(first, ToolCallPart(index=0, arguments='{"q"'))))
    ((_, event),) = told(coalescer.take()[1])
    assert event["tool_calls"] == [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"q"'}},
    ]


def test_an_answer_that_is_too_long_is_cut_once(
    coalescer: Coalescer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_BYTES", 100)
    line = Line("a", 7)
    coalescer.add(line, Delta(text="x" * 60))
    coalescer.add(line, Delta(text="y" * 60))
    assert line.last_id == "7-2"
    assert told(coalescer.take()[1]) == [
        (1, {"kind": "delta", "text": "x" * 60}),
        (2, {"kind": "truncated"}),
    ]
    coalescer.add(line, Delta(text="z"))
    assert coalescer.wait_s() is None
    assert line.last_id == "7-2"


def test_while_nothing_can_be_written_no_more_than_so_much_is_held(
    coalescer: Coalescer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_HELD_CHARS", 10)
    one, two = begun(coalescer, "a", "b")
    coalescer.add(one, Delta(text="x" * 11))
    coalescer.add(two, Delta(text="y"))
    clock.now_s += 1
    _, rows = coalescer.take()
    assert [(job_id, event["kind"]) for (job_id, _), (_, event) in zip(rows, told(rows), strict=True)] == [
        ("a", "delta"),
        ("b", "truncated"),
    ]
    coalescer.add(one, Delta(text="again"))
    clock.now_s += 1
    assert told(coalescer.take()[1]) == [(3, {"kind": "delta", "text": "again"})]


def test_what_is_dropped_is_not_taken(coalescer: Coalescer, clock: Clock) -> None:
    (line,) = begun(coalescer, "a")
    coalescer.add(line, Delta(text="x"))
    coalescer.drop(line)
    clock.now_s += 1
    assert coalescer.take() == ([], [])
    assert line.last_id == "7-1"
