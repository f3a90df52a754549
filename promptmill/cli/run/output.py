"""Append-only files of whole lines: read back, repaired where the last line is torn, written, synced."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from .options import InputError, OutputError

LINE_STARTS = (b'{"custom_id":', b'{"id":')  # what every line of ours begins with

OnRecord = Callable[[dict[str, Any], int], None]


@dataclass(frozen=True)
class Extent:
    """What of a file is whole lines. `ends_mid_line`: the last one is complete but for its newline."""

    whole_bytes: int = 0
    ends_mid_line: bool = False


def scan(path: Path, on_record: OnRecord) -> Extent:
    """Calls `on_record(record, offset)` for every whole line; changes nothing.

    Raises InputError where the file is not one of ours, so that it is never cut or appended to.
    """
    try:
        if not path.exists():
            return Extent()
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is not a regular file: a run can only be resumed from one.")
        return _scan(path, on_record)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _scan(path: Path, on_record: OnRecord) -> Extent:
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                record = _record(line)
                if record is not None:
                    on_record(record, offset)
                elif line.endswith(b"\n") or not _is_torn(line):
                    raise InputError(
                        f"Line {number} of {path} is no answer of an earlier run: "
                        "name another output, or move that file away."
                    )
                else:
                    return Extent(offset)
            if not line.endswith(b"\n"):
                return Extent(offset + len(line), ends_mid_line=True)
            offset += len(line)
    return Extent(offset)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = from_json(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    named = isinstance(record.get("custom_id"), str) and isinstance(record.get("hash"), str)
    return record if named else None


def _is_torn(tail: bytes) -> bool:
    """Whether it is the beginning of a line of ours, or the zeros a power cut leaves behind."""
    return not tail.strip(b"\0") or any(tail[: len(start)] == start[: len(tail)] for start in LINE_STARTS)


class LineFile:
    """Appends whole lines, one write(2) a batch. A batch that does not fit is taken back entirely."""

    def __init__(self, path: Path, extent: Extent) -> None:
        """Repairs a torn last line. Raises InputError where the file cannot be opened."""
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self.size_bytes = extent.whole_bytes
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
        self._dirty = False
        try:
            os.ftruncate(self._fd, extent.whole_bytes)
            if extent.ends_mid_line:
                self.append(b"\n")
        except BaseException:
            self.close()
            raise

    def append(self, lines: bytes) -> None:
        """Writes `lines`, each with its newline. Raises OutputError; then none of them is there."""
        if not lines:
            return
        view = memoryview(lines)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self.size_bytes)
            raise self._refusal(error) from error
        self.size_bytes += len(lines)
        self._dirty = True

    def sync(self) -> None:
        """Returns when everything appended is on the disk. Raises OutputError. Blocks."""
        if not self._dirty:
            return
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._refusal(error) from error
        self._dirty = False

    def close(self) -> None:
        os.close(self._fd)

    def _refusal(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.path} cannot be written: {error.strerror or error}. "
            "Every answer written so far is kept; put it right and run the same command again."
        )


def rewrite(path: Path, keep: Callable[[dict[str, Any], int], bool]) -> None:
    """Replaces the file by those of its lines that `keep(record, offset)`, at once or not at all.

    Raises OutputError; then the file is as it was.
    """
    new = path.with_name(path.name + ".new")
    try:
        with new.open("wb") as file:
            for line, record, offset in _lines(path):
                if keep(record, offset):
                    file.write(line)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise OutputError(f"{path} cannot be rewritten: {error.strerror or error}.") from error


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any], int]]:
    offset = 0
    with path.open("rb") as file:
        for line in file:
            record = _record(line)
            if record is not None:
                yield line if line.endswith(b"\n") else line + b"\n", record, offset
            offset += len(line)
