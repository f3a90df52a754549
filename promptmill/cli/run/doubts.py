"""What a file seems to be that it is not read as: said in a sentence, before anything is sent on a guess."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json

from .options import FileFormat, InputError
from .source import Source

_LOOKED_AT = 5  # lines
_ARRAY = re.compile(rb'\[\s*($|[\[{"\]])')
_SEPARATORS = (b",", b"\t", b";", b"|")


def check_form(source: Source, file_format: FileFormat, *, is_guess: bool) -> None:
    """Raises InputError where `source` is plainly of another form; `is_guess`: nobody has named its format."""
    lines = source.first_lines(_LOOKED_AT)
    if b"\0" in b"".join(lines):
        raise InputError(f"{source.name} seems to be binary, or UTF-16: save it as a text file in UTF-8.")
    if file_format == "jsonl":
        seems = _not_a_line_each(lines)
    elif file_format == "text" and is_guess:
        seems = _not_prompts(lines)
    else:
        return
    if seems:
        raise InputError(f"{source.name} seems to be {seems}.")


def _not_a_line_each(lines: list[bytes]) -> str | None:
    first = lines[0].strip()
    if first.startswith(b"["):
        return "one JSON array, where a run reads an object a line: convert it with jq -c '.[]'"
    fields = _object(first)
    if fields is None and len(lines) > 1 and _is_unfinished(first) and not lines[1].startswith(b"{"):
        return "JSON over several lines, where a run reads an object a line: convert it with jq -c ."
    if fields and "params" in fields and not fields.keys() & {"prompt", "messages", "texts", "body"}:
        return (
            "a batch file of Anthropic's, with params: a run reads {\"messages\": …} and OpenAI's batch lines"
        )
    return None


def _not_prompts(lines: list[bytes]) -> str | None:
    first = lines[0].strip()
    if _ARRAY.match(first) or _object(first) is not None:
        return "JSON: say --format jsonl, or --format text where each of its lines is a prompt"
    columns = max((first.split(mark) for mark in _SEPARATORS), key=len)
    is_headed = len(columns) > 1 and b"prompt" in [name.strip(b' "') for name in columns]
    tabs = {line.strip(b"\r\n").count(b"\t") for line in lines}
    if is_headed or (len(lines) > 1 and len(tabs) == 1 and tabs != {0}):
        return "a table: say --format csv, or --format text where each of its lines is a prompt"
    return None


def _object(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        fields = from_json(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _is_unfinished(line: bytes) -> bool:
    try:
        from_json(line)
    except ValueError as error:
        return str(error).startswith("EOF")
    return False
