"""What commands have in common: options, and what a job returned, as text for a person or as JSON for a program."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import click
from pydantic_core import to_json

from client import Completion, Embeddings, Job, ResultTimeout
from client.words import shown

from .terminal import say

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """JSON on stdout; pydantic models, dataclasses and dates included, bytes as base64. It reads as the same JSON
    whatever the output can show."""
    text = to_json(value, indent=indent, fallback=str, bytes_mode="base64").decode()
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # in JSON, what is not ASCII is inside of a text
        text = _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
    say(text)


def field(text: str) -> str:
    """A text as part of a line, which stays one line; also in a pipe, as what reads on obeys it, too."""
    return shown(text, one_line=True)


def seconds_option(flag: str, help_: str) -> Callable[[Command], Command]:
    """`--wait SECONDS` as `wait_s`; 0 where left out."""
    name, least = f"{flag.removeprefix('--')}_s", click.FloatRange(min=0)
    return click.option(flag, name, type=least, default=0.0, metavar="SECONDS", help=help_)


def table(rows: Sequence[Sequence[str]], *, texts: int) -> str:
    """Columns side by side: the first `texts` to the left, the others, which are numbers, to the right. A row is
    one line, whatever is in it."""
    rows = [list(map(field, cells)) for cells in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if at < texts else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in rows
    )
    return "\n".join(lines)


def print_result(value: Any, *, as_json: bool) -> None:
    """A completion as its text, a text as it is, anything else as JSON."""
    if not as_json and isinstance(value, Completion):
        say(value.text)
    elif not as_json and isinstance(value, str):
        say(value)
    elif isinstance(value, Embeddings):
        print_json(value.model_dump())  # the numbers, not their base64
    else:
        print_json(value)


async def print_stream(job: Job[Completion], timeout_s: float | None) -> None:
    """A completion's text as it is written. Raises as Job.result does."""
    so_far = ""
    try:
        async with asyncio.timeout(timeout_s), aclosing(job.stream()) as events:
            async for event in events:
                if event.kind == "reset" and so_far:
                    say()
                    say("The answer starts over.", err=True)
                    so_far = ""
                so_far += event.text
                say(event.text, end="")
    except TimeoutError:
        raise ResultTimeout(
            f"Job {job.id} has not finished within {timeout_s:g} s; it goes on: ask again later."
        ) from None
    text = (await job.result()).text
    say(text.removeprefix(so_far) if text.startswith(so_far) else "")  # what was not stored
