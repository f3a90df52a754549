"""The input as numbered lines of bytes, readable twice, whatever it is: a file, a pipe, standard input."""

from __future__ import annotations

import codecs
import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO

from client.wire.schemas import MAX_PROMPT_BYTES

from .options import STDIN, InputError

MAX_LINE_BYTES = 4 * MAX_PROMPT_BYTES  # JSON may escape a prompt; no line longer than this is held
READ_BYTES = 1 << 20  # bytes asked of the disk at a time
UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Source:
    """An open input. `lines` may be called again; each call starts at the first line."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.name = name
        self._file = file

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix.lower()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(number from 1, line with its end). A line over MAX_LINE_BYTES comes cut, one byte over it."""
        self._file.seek(0)
        read = partial(self._file.readline, MAX_LINE_BYTES + 1)
        for number, raw in enumerate(iter(read, b""), 1):
            line = raw.removeprefix(UTF8_BOM) if number == 1 else raw
            if len(raw) > MAX_LINE_BYTES:
                self._skip_rest(raw)
            yield number, line

    def first_lines(self, most: int) -> list[bytes]:
        """As many lines that are not blank, or fewer where there are fewer."""
        return list(islice((line for _, line in self.lines() if line.strip()), most))

    def first_line(self) -> bytes:
        """The first line that is not blank, without the space around it, or b"" where there is none."""
        return b"".join(self.first_lines(1)).strip()

    def _skip_rest(self, raw: bytes) -> None:
        while raw and not raw.endswith(b"\n"):
            raw = self._file.readline(READ_BYTES)


@contextmanager
def open_source(name: str) -> Iterator[Source]:
    """Opens `name`, or spools it where it cannot be read twice, or is not lines of UTF-8. Raises InputError."""
    label = "standard input" if name == STDIN else name
    with ExitStack() as opened:
        try:
            file = opened.enter_context(_open(name))
            if file.read(2) in UTF16_BOMS:
                file = opened.enter_context(_rewritten(_in_utf8(_portions(file))))
            if _has_cr_alone(_portions(file)):
                file = opened.enter_context(
                    _rewritten(each.replace(b"\r", b"\n") for each in _portions(file))
                )
        except OSError as error:
            raise InputError(f"{label} cannot be read: {error.strerror or error}.") from error
        except UnicodeDecodeError:
            raise InputError(f"{label} begins as UTF-16, and is none: save it as UTF-8.") from None
        yield Source(file, label)


def _has_cr_alone(portions: Iterator[bytes]) -> bool:
    """Whether lines end in CR, as old spreadsheets for the Mac write them: there is one within, and no LF at all."""
    found = ended = False
    for portion in portions:
        if b"\n" in portion:
            return False
        found = found or ended or b"\r" in portion.rstrip(b"\r")
        ended = portion.endswith(b"\r")
    return found


def _in_utf8(portions: Iterator[bytes]) -> Iterator[bytes]:
    """UTF-16 by its byte order mark, which goes. Raises UnicodeDecodeError."""
    decoder = codecs.getincrementaldecoder("utf-16")()
    for portion in portions:
        yield decoder.decode(portion).encode()
    decoder.decode(b"", final=True)


def _portions(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    return iter(partial(file.read, READ_BYTES), b"")


@contextmanager
def _open(name: str) -> Iterator[IO[bytes]]:
    if name == STDIN:
        with _spool(sys.stdin.buffer) as file:
            yield file
        return
    with open(name, "rb", buffering=READ_BYTES) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            yield file
            return
        with _spool(file) as spooled:
            yield spooled


@contextmanager
def _spool(stream: BinaryIO | io.BufferedReader) -> Iterator[IO[bytes]]:
    """A pipe is read once."""
    with _rewritten(iter(partial(stream.read, READ_BYTES), b"")) as file:
        yield file


@contextmanager
def _rewritten(portions: Iterable[bytes]) -> Iterator[IO[bytes]]:
    """These bytes as a private temporary file, which vanishes when closed."""
    with tempfile.TemporaryFile(buffering=READ_BYTES) as file:
        file.writelines(portions)
        file.seek(0)
        yield file
