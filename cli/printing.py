"""What a job returned, as text for a person or as JSON for a program."""

from __future__ import annotations

from typing import Any

import click
from pydantic_core import to_json

from client import Completion


def print_json(value: Any) -> None:
    """JSON on stdout, indented; pydantic models, dataclasses and dates included."""
    click.echo(to_json(value, indent=2, fallback=str).decode())


def print_result(value: Any, *, as_json: bool) -> None:
    """A completion as its text, a text as it is, anything else as JSON."""
    if not as_json and isinstance(value, Completion):
        click.echo(value.text)
    elif not as_json and isinstance(value, str):
        click.echo(value)
    else:
        print_json(value)
