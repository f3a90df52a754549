"""What a job returned, as text for a person or as JSON for a program."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import click
from pydantic_core import to_json

from client import Completion, Embeddings, Job, ResultTimeout

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    """JSON on stdout, indented; pydantic models, dataclasses and dates included."""
    click.echo(to_json(value, indent=2, fallback=str).decode())


def table(rows: Sequence[Sequence[str]], *, texts: int) -> str:
    """Columns side by side: the first `texts` to the left, the others, which are numbers, to the right."""
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
        click.echo(value.text)
    elif not as_json and isinstance(value, str):
        click.echo(value)
    elif isinstance(value, Embeddings):
        print_json(value.model_dump())  # the numbers, not their base64
    else:
        print_json(value)


async def print_stream(job: Job[Completion], timeout_s: float | None) -> None:
    """A completion's text as it is written. Raises as Job.result does."""
    shown = ""
    try:
        async with asyncio.timeout(timeout_s), aclosing(job.stream()) as events:
            async for event in events:
                if event.kind == "reset" and shown:
                    click.echo()
                    click.echo("The answer starts over.", err=True)
                    shown = ""
                shown += event.text
                click.echo(event.text, nl=False)
    except TimeoutError:
        raise ResultTimeout(
            f"Job {job.id} has not finished within {timeout_s:g} s; it goes on: ask again later."
        ) from None
    text = (await job.result()).text
    click.echo(text.removeprefix(shown) if text.startswith(shown) else "")  # what was not stored
