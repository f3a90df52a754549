"""`--table`: the answers of a run as a table on standard output."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from client.words import counted, shown
from promptmill.dialects.openai.batch import from_output

MOST_ROWS = 50
MIN_TEXT_CHARACTERS = 20


class TableRow(NamedTuple):
    name: str
    text: str
    tokens: str
    seconds: str


def table(output: Path) -> list[str]:
    """The lines of a table of the first answers in `output`, and where all of them are."""
    with output.open("rb") as file:
        records = [from_json(line) for line in islice(file, MOST_ROWS + 1) if line.strip()]
    rows = [_row(record) for record in sorted(records[:MOST_ROWS], key=lambda record: record.get("line", 0))]
    more = " (the first 50 are shown)" if len(records) > MOST_ROWS else ""
    return [*_drawn(rows), f"Answers: {output}{more}"]


def _row(record: dict[str, Any]) -> TableRow:
    record = from_output(record) if "response" in record else record
    usage, seconds = record.get("usage") or {}, record.get("duration_s")
    known = [usage[name] for name in ("input_tokens", "output_tokens") if usage.get(name) is not None]
    return TableRow(
        str(record.get("line", "")),
        shown(" ".join(_text(record).split()), one_line=True),
        str(sum(known)) if known else "-",
        "-" if seconds is None else f"{seconds:.2f}",
    )


def _text(record: dict[str, Any]) -> str:
    vectors = record.get("vectors")
    if vectors:
        return f"{counted(len(vectors), 'vector')} of {counted(len(vectors[0]), 'number')}"
    return str(record.get("text", ""))


def _drawn(rows: list[TableRow]) -> list[str]:
    head = TableRow("line", "answer", "tokens", "seconds")
    name, tokens, seconds = (max(len(row[i]) for row in (head, *rows)) for i in (0, 2, 3))
    left = shutil.get_terminal_size().columns - name - tokens - seconds - 6
    text = max(MIN_TEXT_CHARACTERS, min(left, max((len(row.text) for row in rows), default=0)))

    def drawn(row: TableRow) -> str:
        cut = row.text if len(row.text) <= text else row.text[: text - 1] + "…"
        return f"{row.name:>{name}}  {cut:<{text}}  {row.tokens:>{tokens}}  {row.seconds:>{seconds}}"

    rule = "  ".join("─" * width for width in (name, text, tokens, seconds))
    return [drawn(head), rule, *map(drawn, rows)]
