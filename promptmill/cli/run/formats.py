"""The input, whatever its format → one record a line: {"prompt": …}, or what a line of JSON says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import from_json

from .columns import rows
from .doubts import check_form
from .options import FileFormat, InputError
from .source import MAX_LINE_BYTES, Source
from .template import MissingColumn, Template

_BY_SUFFIX: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "text",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
}


class LineRecord(NamedTuple):
    """A line's fields, or in `fault` why it has none, a sentence without its full stop; then `lines` are lost."""

    line: int
    fields: dict[str, Any]
    fault: str | None = None
    lines: int = 1


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
        if twice := _name_twice(text, fields):
            return LineRecord(number, {}, f"it has {twice!r} twice in one object")
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
        for line, fields, fault, lost in rows(self.source, self.template):
            if fault:
                yield LineRecord(line, {}, fault, lost)
            elif self.template:
                yield self._filled(line, fields)
            else:
                known = {name: fields[name] for name in ("prompt", "custom_id") if fields.get(name)}
                yield LineRecord(line, known)


def open_reader(source: Source, file_format: FileFormat, template: str | None) -> Reader:
    """The reader for a source; "auto" goes by the name, then by the first line. Raises InputError."""
    parsed = Template(template) if template is not None else None
    first = source.first_line()
    if not first:
        raise InputError(f"{source.name} is empty: there is nothing to send.")
    is_guess = file_format == "auto"
    if file_format == "auto":
        file_format = _BY_SUFFIX.get(source.suffix) or _sniffed(first, parsed)
    if file_format == "text" and parsed:
        lacking = parsed.missing_from(["prompt"])
        if lacking:
            raise InputError(
                f"{source.name} is read as text, which has no column {lacking[0]!r}: "
                "use {prompt} for the line, or say --format csv."
            )
    check_form(source, file_format, is_guess=is_guess)
    return Reader(source, file_format, parsed)


def _sniffed(first: bytes, template: Template | None) -> FileFormat:
    if first.startswith((b"{", b"[{")) or first == b"[":
        return "jsonl"
    return "csv" if template and template.columns != ("prompt",) else "text"


def _name_twice(text: str, fields: dict[str, Any]) -> str | None:
    """A name that an object of the line has twice, of which a reader would drop one."""
    body = fields.get("body")
    names = [*fields, *(body if isinstance(body, dict) else ())]
    if all(text.count(f'"{name}"') == 1 for name in names):
        return None
    twice: list[str] = []

    def notice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen = [name for name, _ in pairs]
            twice.extend(name for name in found if seen.count(name) > 1)
        return found

    json.loads(text, object_pairs_hook=notice)
    return twice[0] if twice else None


def json_name(value: Any) -> str:
    """What a reader of JSON calls a value of this type."""
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), "an object")
