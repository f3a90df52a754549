"""Server-sent events from the bytes of a response, as they come. Knows no provider and does no I/O.

The format is the HTML standard's (9.2.6): lines end in LF, CR or CRLF, an empty line ends an event, several
`data:` lines are one text with line feeds between, a line that begins with a colon is a comment (hosts send
them to keep a connection open). Lines are found in bytes, so a character split between chunks stays whole.
"""

from __future__ import annotations

from typing import NamedTuple

# what is larger, or a line that never ends, is not taken; an image of Gemini's is one event of some megabytes
MAX_EVENT_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event of more than MAX_EVENT_BYTES."""


class Event(NamedTuple):
    """One event: its `event:` field, empty where there was none, and its `data:` as bytes of UTF-8."""

    name: str
    data: bytes


class EventParser:
    """Bytes in, events out. One for each response."""

    def __init__(self) -> None:
        self._unfinished: list[bytes] = []  # the pieces of a line whose end has not come
        self._unfinished_bytes = 0
        self._name = ""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._after_cr = False  # a line feed that comes next ends no line of its own
        self._at_start = True

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. Raises EventTooLarge, and is then of no more use."""
        if self._is_between_events and _is_one_event(chunk):
            return [Event("", chunk[6:-2])]
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return []
        self._after_cr = chunk.endswith(b"\r")
        lines = chunk.splitlines()
        if self._unfinished:
            lines[0] = b"".join([*self._unfinished, lines[0]])
            self._unfinished, self._unfinished_bytes = [], 0
        if not chunk.endswith((b"\n", b"\r")):
            self._keep(lines.pop())
        return [event for line in lines if (event := self._take(line)) is not None]

    @property
    def _is_between_events(self) -> bool:
        return not (self._unfinished or self._data or self._name or self._after_cr or self._at_start)

    def close(self) -> list[Event]:
        """The event that the end of the response completes: some hosts leave out its last empty line."""
        return self.feed(b"\n\n")

    def _keep(self, piece: bytes) -> None:
        self._unfinished.append(piece)
        self._unfinished_bytes += len(piece)
        _check(self._unfinished_bytes)

    def _take(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
            _check(self._data_bytes)
        elif name == b"event":
            self._name = value.decode(errors="replace")
        return None

    def _dispatch(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data, self._data_bytes = "", [], 0
        if not data:
            return None
        return Event(name, data[0] if len(data) == 1 else b"\n".join(data))


def _is_one_event(chunk: bytes) -> bool:
    """Whether it is `data: …` and an empty line, as most chunks of most hosts are: then there is nothing to split."""
    return (
        chunk.startswith(b"data: ")
        and chunk.endswith(b"\n\n")
        and chunk.find(b"\n") == len(chunk) - 2
        and b"\r" not in chunk
        and len(chunk) < MAX_EVENT_BYTES
    )


def _check(held_bytes: int) -> None:
    if held_bytes > MAX_EVENT_BYTES:
        raise EventTooLarge(f"it has an event of more than {MAX_EVENT_BYTES:,} bytes")
