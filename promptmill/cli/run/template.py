"""`--template "Summarise: {text}"`: columns put into a sentence, and nothing more.

Braces hold the name of a column; `{{` and `}}` are braces. Attributes, indexes, conversions and format
specifications are refused, so a template cannot reach into anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import Formatter
from typing import Any

from pydantic_core import to_json

from .options import InputError


class MissingColumn(KeyError):
    """The row lacks a column that the template names."""


class Template:
    """Raises InputError where `text` is not a template."""

    def __init__(self, text: str) -> None:
        self._parts = _parse(text)
        self.columns = tuple(dict.fromkeys(name for _, name in self._parts if name is not None))
        if not self.columns:
            raise InputError("--template names no column: write one in braces, such as {text}.")

    def missing_from(self, columns: Iterable[str]) -> list[str]:
        """The columns that the template names and `columns` lack."""
        known = set(columns)
        return [name for name in self.columns if name not in known]

    def render(self, row: Mapping[str, Any]) -> str:
        """The prompt for one row. Raises MissingColumn; null counts as missing."""
        pieces: list[str] = []
        for literal, name in self._parts:
            pieces.append(literal)
            if name is not None:
                pieces.append(_text(row, name))
        return "".join(pieces)


def _parse(text: str) -> list[tuple[str, str | None]]:
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise InputError(f"--template cannot be read: {error}; write {{{{ for a brace.") from None
    for _, name, spec, conversion in parts:
        if name == "":
            raise InputError("--template has empty braces: name a column in them, such as {text}.")
        if spec or conversion:
            raise InputError(f"--template may hold only names in braces: {name!r} has more than a name.")
    return [(literal, name) for literal, name, _, _ in parts]


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        raise MissingColumn(name)
    if isinstance(value, str):
        return value
    return to_json(value).decode()
