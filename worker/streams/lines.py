"""What runs say, put together into events. Pure: a clock comes in, nothing goes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from client.wire import events
from promptmill.dialects import Delta
from promptmill.dialects.answers import ToolCallPart

WAIT_S = 0.05  # a delta waits no longer for others
PIECE_CHARS = 1_024  # nor for more than this
MAX_BYTES = 2 * 1024 * 1024  # of one run's events; a longer answer is in the result only
MAX_HELD_CHARS = 64 * 1024 * 1024  # of all runs here while Redis is away


Row: TypeAlias = tuple[str, bytes]  # an event on its way: its job's id, '{µs}-{number} {event}'


class Line:
    """What one run says. Its deltas are joined until they are taken."""

    __slots__ = (
        "_calls", "_is_cut", "_reasoning", "_text", "begun", "held", "job_id", "number",
        "run_us", "told_bytes", "waiter", "wants_cut",
    )  # fmt: skip

    def __init__(self, job_id: str, run_us: int) -> None:
        self.job_id, self.run_us = job_id, run_us
        self.number = 0  # of the last event that was taken
        self.begun = False  # something has been taken, be it only that the run has begun
        self.held = 0  # characters that wait
        self.told_bytes = 0
        self.waiter: asyncio.Future[None] | None = None  # for all to be written
        self.wants_cut = self._is_cut = False
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCallPart] = []

    @property
    def has_more(self) -> bool:
        """Whether something waits to be taken."""
        return self.held > 0 or (self.wants_cut and not self._is_cut)

    @property
    def last_id(self) -> str:
        """The id of the last event, taken or not; empty where there is none."""
        number = self.number + (self.held > 0) + (self.wants_cut and not self._is_cut)
        return f"{self.run_us}-{number}" if number else ""

    def add(self, delta: Delta) -> int:
        """Takes a delta. Returns how many characters wait more than before."""
        chars = len(delta.text) + len(delta.reasoning)
        for part in delta.tool_calls:
            chars += len(part.arguments) + len(part.name or "") + 1
        if self.wants_cut or not chars:
            return 0
        if self.told_bytes + self.held + chars > MAX_BYTES:
            self.wants_cut = True
            return 0
        if delta.text:
            self._text.append(delta.text)
        if delta.reasoning:
            self._reasoning.append(delta.reasoning)
        if delta.tool_calls:
            self._calls += delta.tool_calls
        self.held += chars
        return chars

    def drop(self) -> None:
        """Forgets what waits."""
        self._text, self._reasoning, self._calls, self.held = [], [], [], 0
        self.wants_cut = self._is_cut

    def take(self) -> list[Row]:
        """The events that what waits makes up."""
        self.begun = True
        rows = []
        if self.held:
            calls = [_piece(part) for part in self._calls]
            event = events.delta("".join(self._text), "".join(self._reasoning), calls)
            self.told_bytes += len(event)
            self._text, self._reasoning, self._calls, self.held = [], [], [], 0
            rows.append(self._row(event))
        if self.wants_cut and not self._is_cut:
            self._is_cut = True
            rows.append(self._row(events.TRUNCATED))
        return rows or [(self.job_id, b"%d-1 " % self.run_us)]

    def _row(self, event: bytes) -> Row:
        self.number += 1
        return self.job_id, b"%d-%d %b" % (self.run_us, self.number, event)


class Coalescer:
    """All lines of a process, and when what waits in them is to be taken."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: dict[Line, None] = {}
        self._urgent: dict[Line, None] = {}
        self._since_s = 0.0  # when the first of `_waiting` came
        self._held = 0

    def add(self, line: Line, delta: Delta) -> bool:
        """Takes a delta. True where `wait_s` is shorter now: this is the first to wait, or it will not."""
        if self._held > MAX_HELD_CHARS:
            line.wants_cut = True
        self._held += line.add(delta)
        if not line.has_more:
            return False
        if not line.begun or line.held >= PIECE_CHARS:
            return self.hurry(line)
        if line in self._waiting:
            return False
        self._waiting[line] = None
        if len(self._waiting) > 1:
            return False
        self._since_s = self._clock()
        return True

    def hurry(self, line: Line) -> bool:
        """What this line holds is not to wait. True where nothing else was in a hurry."""
        self._urgent[line] = None
        return len(self._urgent) == 1

    def drop(self, line: Line) -> None:
        """Forgets the line and what waits in it."""
        self._held -= line.held
        line.drop()
        self._waiting.pop(line, None)
        self._urgent.pop(line, None)

    def wait_s(self) -> float | None:
        """How long until something is to be taken; None while nothing waits."""
        if self._urgent:
            return 0.0
        return max(0.0, self._since_s + WAIT_S - self._clock()) if self._waiting else None

    def take(self) -> tuple[list[Line], list[Row]]:
        """The lines whose time has come, and their events."""
        lines = self._urgent
        if self._waiting and self._clock() >= self._since_s + WAIT_S:
            lines = self._waiting | lines
            self._waiting = {}
        self._urgent = {}
        rows: list[Row] = []
        for line in lines:
            self._waiting.pop(line, None)
            self._held -= line.held
            rows += line.take()
        return list(lines), rows


def _piece(part: ToolCallPart) -> dict[str, Any]:
    """In OpenAI's streamed form."""
    piece: dict[str, Any] = {"index": part.index}
    if part.id:
        piece["id"] = part.id
    if part.name:
        piece["type"] = "function"
    function = {"name": part.name} if part.name else {}
    return {**piece, "function": {**function, "arguments": part.arguments}, **(part.more or {})}
