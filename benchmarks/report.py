"""What a benchmark found: cases, as JSON or as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Figures = dict[str, float | int | str | None]

_MET = {True: "met", False: "NOT met", None: "-"}


@dataclass(frozen=True, slots=True)
class Case:
    """One line. `figures` have their unit in the name; a system that could not run has `absent`, the reason."""

    case: str
    figures: Figures
    goal: str | None = None
    met: bool | None = None


def as_json(benchmark: str, machine: dict[str, Any], cases: Sequence[Case]) -> str:
    """One object, on one line."""
    return json.dumps({"benchmark": benchmark, "machine": machine, "cases": [asdict(case) for case in cases]})


def as_table(benchmark: str, cases: Sequence[Case]) -> str:
    """Markdown tables with a column for each figure, one for all cases of the same figures, then the goals."""
    lines = [f"## {benchmark}", ""]
    for table in _alike(cases):
        lines += [*_rows(table), ""]
    lines += [f"- {case.case}: {case.goal}: {_MET[case.met]}" for case in cases if case.goal]
    lines += [
        f"- {case.case}: absent: {case.figures['absent']}" for case in cases if "absent" in case.figures
    ]
    return "\n".join(lines) + "\n"


def _alike(cases: Sequence[Case]) -> list[list[Case]]:
    """Neighbours whose figures are the same, or of which one has some more."""
    tables: list[list[Case]] = []
    for case in cases:
        names, known = set(_names([case])), set(_names(tables[-1])) if tables else set()
        if tables and (names <= known or names >= known):
            tables[-1].append(case)
        else:
            tables.append([case])
    return tables


def _names(cases: Sequence[Case]) -> list[str]:
    """Of all their figures."""
    return list(dict.fromkeys(name for case in cases for name in case.figures if name != "absent"))


def _rows(cases: Sequence[Case]) -> list[str]:
    names = _names(cases)
    rows = [["case", *names]]
    for case in cases:
        rows.append([case.case, *(_cell(case.figures.get(name)) for name in names)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_line(rows[0], widths), _line(["-" * width for width in widths], widths)]
    return lines + [_line(row, widths) for row in rows[1:]]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _cell(value: float | int | str | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value
