"""The one way to standard output and standard error, whoever wrote the text and whatever the locale is."""

from __future__ import annotations

import codecs
import io
import sys
import traceback
from types import TracebackType
from typing import TextIO

import click

_NEAREST = {  # of what we and models write, where an output has ASCII or Latin-1 only
    **{"\u2500": "-", "\u2013": "-", "\u2014": "-", "\u00b7": "-", "\u2022": "*"},  # lines and points
    **{"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'},  # quotes
    **{"\u2026": "...", "\u2192": "->", "\u20ac": "EUR"},
}


def say(text: str = "", *, err: bool = False, end: str = "\n") -> None:
    """Prints it, and at once. On a terminal it is shown and not obeyed (client/words.py), newlines and tabs
    excepted; a pipe and a file get it as it is."""
    say_to(sys.stderr if err else sys.stdout, text, end=end)


def say_to(stream: TextIO, text: str, *, end: str = "\n") -> None:
    """As `say`, to a stream."""
    if stream.isatty():
        from client.words import shown  # here, not above: `--help` needs no client

        text = shown(text)
    stream.write(f"{text}{end}")
    stream.flush()


def say_in_colour(word: str, colour: str) -> None:
    """Prints a word of our own, in a colour where there is a terminal."""
    sys.stdout.write(click.style(word, fg=colour) if sys.stdout.isatty() else word)


def take_over() -> None:
    """To be called once: what an output cannot show becomes the nearest that it can, or a question mark, in
    whatever locale; and a trace of ours is shown, too."""
    codecs.register_error("promptmill.nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="promptmill.nearest")
    sys.excepthook = _say_trace


def _nearest(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if not error.encoding.startswith("utf"):
        return _NEAREST.get(character, "?"), error.start + 1
    is_byte = "\udc80" <= character <= "\udcff"  # of a file's name that is not UTF-8
    shown = bytes([ord(character) - 0xDC00]) if is_byte else "\ufffd".encode(error.encoding)
    return shown, error.start + 1


def _say_trace(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    say("".join(traceback.format_exception(kind, error, trace)), err=True, end="")
