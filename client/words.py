"""What others wrote, and counts, as a person reads them on a terminal, in a log, in a sentence. A leaf.

Models, providers and callers choose texts that end up on terminals and in logs, which obey control characters:
they clear the screen, set the title, or, as bidi characters do, show words in another order than they were sent.
"""

from __future__ import annotations

import logging
import re

# C0 without newline and tab, DEL, C1; what sets or ends a line or a direction; halves of characters
_OBEYED = "\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff"
_IN_TEXT, _IN_LINE = re.compile(f"[{_OBEYED}]"), re.compile(f"[\t\n{_OBEYED}]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def shown(text: str, *, one_line: bool = False) -> str:
    """`text` with every character that a terminal would obey written out, as `\\u001b`.

    Newlines and tabs stay, unless it is to be `one_line`: a field of a table, a line of a log.
    """
    if one_line:
        return _IN_LINE.sub(_written_out, text)
    return _IN_TEXT.sub(_written_out, text.replace("\r\n", "\n"))


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """`1 line`, `1,234 lines`; `nouns` where it is not `noun` and an s."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def logger(name: str) -> logging.Logger:
    """The logger of that name, whose lines stay one line each and show what others wrote. Idempotent."""
    found = logging.getLogger(name)
    found.addFilter(_show)
    return found


def _written_out(found: re.Match[str]) -> str:
    return _SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}"


def _show(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass. What is safe stays as it is, for handlers that group by it."""
    record.msg = shown(str(record.msg), one_line=True)
    if isinstance(record.args, tuple):
        record.args = tuple(map(_as_argument, record.args))
    elif record.args:
        record.args = {name: _as_argument(value) for name, value in record.args.items()}
    if record.exc_info and not record.exc_text:  # a formatter takes it where it is there
        record.exc_text = shown(logging.Formatter().formatException(record.exc_info))
    return True


def _as_argument(value: object) -> object:
    text = "" if isinstance(value, int | float) else str(value)
    safe = shown(text, one_line=True)
    return value if safe == text else safe
