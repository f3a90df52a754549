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
        self._unfinished = bytearray()  # of a line whose end has not come
        self._name = ""
        self._data: bytes | bytearray | None = None  # the lines of it so far
        self._after_cr = False  # a line feed that comes next ends no line of its own
        self._at_start = True
        self._is_between_events = False
        self._failed: EventTooLarge | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. Raises EventTooLarge, once those before it were given, and is then of
        no more use."""
        # `data: …` and an empty line, as most chunks of most hosts are: there is nothing to split
        if (
            self._is_between_events
            and chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and chunk.find(b"\n") == len(chunk) - 2 < MAX_EVENT_BYTES
            and b"\r" not in chunk
        ):
            return [Event("", chunk[6:-2])]
        events: list[Event] = []
        try:
            self._read(chunk, events)
        except EventTooLarge as error:
            self._failed = error
        self._is_between_events = not (
            self._unfinished or self._data is not None or self._name or self._after_cr or self._at_start
        )
        if self._failed and not events:
            raise self._failed
        return events

    def _read(self, chunk: bytes, events: list[Event]) -> None:
        if self._failed:
            return
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return
        self._after_cr = chunk.endswith(b"\r")
        lines = chunk.splitlines()
        if self._unfinished:
            lines[0] = bytes(self._unfinished + lines[0])
            self._unfinished.clear()
        unfinished = b"" if chunk.endswith((b"\n", b"\r")) else lines.pop()
        for line in lines:
            if (event := self._take(line)) is not None:
                events.append(event)
        if unfinished:
            self._keep(unfinished)

    def close(self) -> list[Event]:
        """The event that the end of the response completes: some hosts leave out its last empty line."""
        return self.feed(b"\n\n")

    def _keep(self, piece: bytes) -> None:
        self._unfinished += piece
        _check(len(self._unfinished))

    def _take(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            if self._data is None:
                self._data = value
            else:
                if isinstance(self._data, bytes):
                    self._data = bytearray(self._data)
                self._data += b"\n" + value
            _check(len(self._data) + 1)
        elif name == b"event":
            self._name = value.decode(errors="replace")
        return None

    def _dispatch(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data = "", None
        return None if data is None else Event(name, bytes(data))


def _check(held_bytes: int) -> None:
    if held_bytes > MAX_EVENT_BYTES:
        raise EventTooLarge(f"it has an event of more than {MAX_EVENT_BYTES:,} bytes")
