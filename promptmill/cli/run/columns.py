"""CSV and its kin, with tabs, semicolons or bars: the header, and what is wrong with a row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .options import InputError
from .source import MAX_LINE_BYTES, Source
from .template import Template

_SEPARATORS = (",", "\t", ";", "|")


class CsvRow(NamedTuple):
    """A row by its first line; `fault` says why it cannot be used, and `lines` how many are lost with it."""

    line: int
    fields: dict[str, str]
    fault: str | None = None
    lines: int = 1


def rows(source: Source, template: Template | None) -> Iterator[CsvRow]:
    """The rows behind the header. Raises InputError where that is not what is needed."""
    csv.field_size_limit(MAX_LINE_BYTES)
    needed = template.columns if template else ("prompt",)
    texts = (line.decode(errors="surrogateescape") for _, line in source.lines())
    reader = csv.reader(texts, strict=True, delimiter=_separator(source, needed))
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1  # a quoted field may hold newlines: a row is known by its first line
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _lost(line, reader.line_num, f"it is not CSV: {error}")
            continue
        if header is None:
            header = (
                _header(source.name, row, needed, has_template=template is not None) if any(row) else None
            )
        elif any(row):
            yield _row(line, reader.line_num, header, row)


def _separator(source: Source, needed: Sequence[str]) -> str:
    """The first that gives the header all that is needed, or else the most columns."""
    first = source.first_line().decode(errors="surrogateescape")
    headers = {mark: [name.strip() for name in _split(first, mark)] for mark in _SEPARATORS}
    fitting = [mark for mark, header in headers.items() if set(needed) <= set(header)]
    return fitting[0] if fitting else max(headers, key=lambda mark: len(headers[mark]))


def _split(line: str, mark: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=mark), [])
    except csv.Error:
        return []


def _header(name: str, row: list[str], needed: Sequence[str], *, has_template: bool) -> list[str]:
    header = [column.strip() for column in row]
    lacking = [column for column in needed if column not in header]
    if lacking and has_template:
        raise InputError(
            f"{name} has no column {lacking[0]!r}, which the template names; it has {', '.join(header)}."
        )
    if lacking:
        raise InputError(
            f"{name} has no column 'prompt': say how to make one with --template \"… {{{header[0]}}}\"."
        )
    for column in (*needed, "custom_id"):
        if header.count(column) > 1:
            raise InputError(
                f"{name} has {header.count(column)} columns named {column!r}: rename all of them but one."
            )
    return header


def _row(line: int, last: int, header: list[str], row: list[str]) -> CsvRow:
    if len(row) != len(header):
        return _lost(line, last, f"it has {len(row)} fields where the header has {len(header)}")
    if not all(field.isascii() or _is_decoded(field) for field in row):
        return CsvRow(line, {}, "it is not UTF-8")
    return CsvRow(line, dict(zip(header, row, strict=True)))


def _lost(line: int, last: int, fault: str) -> CsvRow:
    """A row that ends on another line may have taken others with it: a quote that is closed too late, or never."""
    count = max(1, last - line + 1)
    if count > 1:
        fault += f". A quote opened in it takes lines {line:,} to {last:,} together: {count:,} lines are lost"
    return CsvRow(line, {}, fault, count)


def _is_decoded(field: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in field)
