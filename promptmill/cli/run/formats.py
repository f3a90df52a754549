"""The input, whatever its format → one record a line: {"prompt": …}, or what a line of JSON says."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import from_json

from .options import FileFormat, InputError
from .source import MAX_LINE_BYTES, Source
from .template import MissingColumn, Template

_BY_SUFFIX: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "text",
    ".csv": "csv",
}


class LineRecord(NamedTuple):
    """A line's fields, or in `fault` why it has none: a sentence without its full stop."""

    line: int
    fields: dict[str, Any]
    fault: str | None = None


@dataclass(frozen=True)
class Reader:
    """Reads a source as `format`; blank lines are skipped, but counted in the numbers."""

    source: Source
    format: FileFormat
    template: Template | None

    def records(self) -> Iterator[LineRecord]:
        """Raises InputError where no line can be read at all."""
        if self.format == "csv":
            return self._csv()
        return (
            self._record(number, line) for number, line in self.source.lines() if not line.isspace() and line
        )

    def _record(self, number: int, line: bytes) -> LineRecord:
        if len(line) > MAX_LINE_BYTES:
            return LineRecord(number, {}, f"it is longer than {MAX_LINE_BYTES // 2**20} MB")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            return LineRecord(
                number, {}, f"it is not UTF-8 (byte {error.start + 1} is 0x{line[error.start]:02x})"
            )
        if self.format == "text":
            return self._filled(number, {"prompt": text.rstrip("\r\n")})
        return self._json(number, text)

    def _json(self, number: int, text: str) -> LineRecord:
        try:
            fields = from_json(text, allow_inf_nan=False, cache_strings="keys")
        except ValueError as error:
            reason = str(error).replace(" at line 1 column ", " at character ")
            return LineRecord(number, {}, f"it is not JSON: {reason}")
        if not isinstance(fields, dict):
            return LineRecord(number, {}, f"it must be a JSON object, not {json_name(fields)}")
        return self._filled(number, fields)

    def _filled(self, number: int, row: dict[str, Any]) -> LineRecord:
        if self.template is None:
            return LineRecord(number, row)
        try:
            fields: dict[str, Any] = {"prompt": self.template.render(row)}
        except MissingColumn as missing:
            return LineRecord(
                number, {}, f"it has no value for {{{missing.args[0]}}}, which the template names"
            )
        if row.get("custom_id") not in (None, ""):
            fields["custom_id"] = row["custom_id"]
        return LineRecord(number, fields)

    def _csv(self) -> Iterator[LineRecord]:
        csv.field_size_limit(MAX_LINE_BYTES)
        texts = (line.decode(errors="surrogateescape") for _, line in self.source.lines())
        rows = csv.reader(texts, strict=True)
        header: list[str] | None = None
        while True:
            line = rows.line_num + 1  # a quoted field may hold newlines: a row is known by its first line
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield LineRecord(line, {}, f"it is not CSV: {error}")
                continue
            if header is None:
                header = self._header(row) if any(row) else None
            elif any(row):
                yield self._row(line, header, row)

    def _header(self, row: list[str]) -> list[str]:
        header = [name.strip() for name in row]
        lacking = self.template.missing_from(header) if self.template else []
        if lacking:
            raise InputError(
                f"{self.source.name} has no column {lacking[0]!r}, which the template names; "
                f"it has {', '.join(header)}."
            )
        if not self.template and "prompt" not in header:
            raise InputError(
                f"{self.source.name} has no column 'prompt': say how to make one with "
                f'--template "… {{{header[0]}}}".'
            )
        return header

    def _row(self, line: int, header: list[str], row: list[str]) -> LineRecord:
        if len(row) != len(header):
            return LineRecord(line, {}, f"it has {len(row)} fields where the header has {len(header)}")
        if any(_is_undecodable(field) for field in row):
            return LineRecord(line, {}, "it is not UTF-8")
        fields: dict[str, Any] = dict(zip(header, row, strict=True))
        if self.template:
            return self._filled(line, fields)
        return LineRecord(line, {name: fields[name] for name in ("prompt", "custom_id") if fields.get(name)})


def open_reader(source: Source, file_format: FileFormat, template: str | None) -> Reader:
    """The reader for a source; "auto" goes by the name, then by the first line. Raises InputError."""
    parsed = Template(template) if template is not None else None
    first = source.first_line()
    if not first:
        raise InputError(f"{source.name} is empty: there is nothing to send.")
    if file_format == "auto":
        file_format = _BY_SUFFIX.get(source.suffix) or _sniffed(first, parsed)
    if file_format == "text" and parsed:
        lacking = parsed.missing_from(["prompt"])
        if lacking:
            raise InputError(
                f"{source.name} is read as text, which has no column {lacking[0]!r}: "
                "use {prompt} for the line, or say --format csv."
            )
    return Reader(source, file_format, parsed)


def _sniffed(first: bytes, template: Template | None) -> FileFormat:
    if first.startswith(b"{"):
        return "jsonl"
    return "csv" if template and template.columns != ("prompt",) else "text"


def _is_undecodable(field: str) -> bool:
    if field.isascii():
        return False
    return any("\udc80" <= character <= "\udcff" for character in field)


def json_name(value: Any) -> str:
    """What a reader of JSON calls a value of this type."""
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), "an object")
