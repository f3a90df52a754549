"""What hosts send, as JSON and in frames, however well they do it. Knows no provider and does no I/O.

The framing is the body's own: server-sent events, or JSON that begins with a bracket, one text or one a line. It is
looked for in the first bytes, whatever was asked for and whatever the content type says.

JSON is read fast where it is JSON. Where it is not, `read_loosely` takes bad UTF-8, lone halves of characters, a byte
order mark, raw control characters and numbers that JSON has not; the same body would come at the next try, too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic_core import from_json

from .sse import Event, EventParser

MAX_DIGITS = 4_300  # of a whole number; Python reads no longer one
MAX_DEPTH = 200  # levels, pydantic's own limit

_MARK = "\ufeff"  # a byte order mark
_BLANK = b" \t\r\n\xef\xbb\xbf"  # white space, and the bytes of a byte order mark
_EVENTS = (b"data", b"event", b"id", b"retry", b":")  # how the lines of server-sent events begin
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # a line's end and a tab are kept: they have a meaning
_ESCAPED_HALF = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_NO_BYTE = re.compile(
    "[\ud800-\udc7f\udd00-\udfff]"
)  # a half that stands for no byte, as "surrogateescape" has them
_SPOKEN = frozenset({"content", "text", "refusal"})  # the fields that a stream sends in pieces
_THOUGHT = frozenset({"thinking", "reasoning", "reasoning_content"})
_IN_PIECES = _SPOKEN | _THOUGHT | {"arguments", "partial_json"}
# what a text may end in whose next piece brings the rest: a high half, or the first bytes of a character
_BEGUN = re.compile(
    "[\ud800-\udbff]$|[\udcc2-\udcdf]$|[\udce0-\udcef][\udc80-\udcbf]?$|[\udcf0-\udcf4][\udc80-\udcbf]{0,2}$"
)


def read_json(data: bytes, *, may_be_cut: bool = False) -> Any:
    """What `data` says, all its characters whole. With `may_be_cut`, an object or a list without its end, too.
    Raises ValueError."""
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError:
        pass
    try:
        return mended(read_loosely(data))
    except ValueError:
        if not (may_be_cut and data.lstrip(_BLANK).startswith((b"{", b"["))):
            raise
    text = data.decode(errors="replace").removeprefix(_MARK).replace("\n", " ").replace("\t", " ")
    text = _ESCAPED_HALF.sub(r"\\ufffd", _CONTROL.sub("\ufffd", text))
    return from_json(text, allow_partial="trailing-strings")


def read_loosely(data: bytes) -> Any:
    """What `data` says, its texts with what was no character as lone halves, to be `mended` or joined with the next
    piece of a stream. A number that JSON has not is null. Raises ValueError."""
    text = data.decode(errors="surrogateescape").removeprefix(_MARK)
    try:
        return json.loads(
            _CONTROL.sub("\ufffd", text),
            strict=False,
            parse_int=_whole_number,
            parse_float=_number,
            parse_constant=_no_number,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def mended(value: Any) -> Any:
    """`value` with every text whole. Raises ValueError where it is nested too deeply."""
    return Halves().join(value, is_last=True)


def whole(text: str) -> str:
    """`text` with halves of one character joined, and U+FFFD in place of what stays half."""
    if text.isascii():
        return text
    return _NO_BYTE.sub("\ufffd", _paired(text)).encode(errors="surrogateescape").decode(errors="replace")


def _paired(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


class Halves:
    """Joins characters that a stream has cut: one half at the end of a text, the other at the beginning of the text
    that the next event has in the same place."""

    def __init__(self) -> None:
        self._held: dict[tuple[str | int, ...], str] = {}

    def join(self, value: Any, path: tuple[str | int, ...] = (), *, is_last: bool = False) -> Any:
        """What was read loosely, with every text whole but for a half that is held until its other comes; with
        `is_last`, none comes. Raises ValueError where it is nested too deeply."""
        if len(path) > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if isinstance(value, str):
            text = _paired(self._held.pop(path, "") + value)
            half = None if is_last or not path or path[-1] not in _IN_PIECES else _BEGUN.search(text)
            if half:
                self._held[path] = half[0]
                text = text[: half.start()]
            return whole(text)
        if isinstance(value, list):
            return [self.join(each, (*path, at), is_last=is_last) for at, each in enumerate(value)]
        if isinstance(value, dict):
            # the arguments of a whole call have names of their own
            is_whole = is_last or (bool(path) and path[-1] in ("arguments", "args", "input"))
            return {
                whole(name): self.join(each, (*path, name), is_last=is_whole) for name, each in value.items()
            }
        return value

    def rest(self) -> tuple[str, str]:
        """U+FFFD for a half of the text that stayed alone, and for one of the reasoning."""
        ends = {path[-1] for path in self._held}
        self._held.clear()
        return "\ufffd" if ends & _SPOKEN else "", "\ufffd" if ends & _THOUGHT else ""


class Frames:
    """Bytes of a body in, events out: its own, or one for each of its JSON texts. One for each response."""

    def __init__(self) -> None:
        self._parser: EventParser | JsonTexts | None = None
        # The events that a chunk completes. Raises EventTooLarge, and is then of no more use.
        self.feed: Callable[[bytes], list[Event]] = self._begin

    @property
    def are_json(self) -> bool:
        return isinstance(self._parser, JsonTexts)

    def _begin(self, chunk: bytes) -> list[Event]:
        chunk = chunk.lstrip(_BLANK)
        if not chunk:
            return []
        self._parser = JsonTexts() if chunk.startswith((b"{", b"[")) else EventParser()
        self.feed = self._parser.feed
        return self.feed(chunk)

    def close(self) -> list[Event]:
        """Those that the end of the body completes."""
        return self._parser.close() if self._parser else []


class JsonTexts:
    """JSON texts: one in each line, or one over many. Whoever feeds it limits the size of the whole."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._is_one = False  # a line was no object: they all are one text

    def feed(self, chunk: bytes) -> list[Event]:
        self._unread += chunk
        if self._is_one or b"\n" not in chunk:
            return []
        *lines, rest = bytes(self._unread).split(b"\n")
        self._unread = bytearray(rest)
        events = []
        for number, line in enumerate(lines):
            if line.strip(_BLANK):
                if not _is_object(line):
                    self._is_one, self._unread = True, bytearray(b"\n".join([*lines[number:], rest]))
                    break
                events.append(Event("", line))
        return events

    def close(self) -> list[Event]:
        rest = bytes(self._unread).strip(_BLANK)
        self._unread.clear()
        return [Event("", rest)] if rest else []


def is_one_json(body: bytes) -> bool:
    """Whether a whole body is best read as one JSON text: it has no frames, or is nothing we know."""
    head = body[:100].lstrip(_BLANK)
    if head.startswith(b"{"):
        return b"\n" not in body or b"\n{" not in body  # the first is quick
    return not head.startswith((b"[", *_EVENTS))


def objects_in(body: bytes, *, may_be_cut: bool = False) -> Iterator[dict[str, Any]]:
    """The JSON objects of a whole body, in whatever frames they are. What is none is passed over."""
    frames = Frames()
    for event in [*frames.feed(body), *frames.close()]:
        try:
            data = read_json(event.data, may_be_cut=may_be_cut)
        except ValueError:
            continue
        yield from objects_of(data)


def objects_of(data: Any) -> list[dict[str, Any]]:
    """The object that `data` is, or those of the list that it is: Google streams a list where it is not asked
    otherwise, and wraps a refusal in one."""
    return [each for each in (data if isinstance(data, list) else [data]) if isinstance(each, dict)]


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(read_json(line), dict)
    except ValueError:
        return False


def _whole_number(digits: str) -> int | None:
    return int(digits) if len(digits) <= MAX_DIGITS else None


def _number(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _no_number(name: str) -> None:
    """NaN and the infinities."""
