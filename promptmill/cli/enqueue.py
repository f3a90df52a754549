"""`promptmill enqueue FUNCTION [ARG]…`."""

from __future__ import annotations

from typing import Any

import click
from pydantic_core import from_json

from client import Job, Queue
from client.tickets import HEAD_STARTS_S

from .interrupts import run_command
from .open_queue import no_worker_hint, open_queue
from .printing import seconds_option
from .terminal import say

_OLD_NAMES = {"defer-s": "defer"}  # of options, which still work


@click.command(context_settings={"token_normalize_func": lambda name: _OLD_NAMES.get(name, name)})
@click.argument("function")
@click.argument("args", nargs=-1, metavar="[ARG]...")
@click.option("--kwarg", "pairs", multiple=True, metavar="KEY=VALUE", help="A keyword argument; repeatable.")
@click.option("--id", "job_id", metavar="ID", help="The job's id: enqueueing it again changes nothing.")
@seconds_option("--defer", "How long the job waits before it may start.")
@click.option("--tenant", metavar="NAME", help="Whose limits the job comes under, besides its model's.")
@click.option("--conversation", metavar="NAME", help="Jobs of one conversation follow one another.")
@click.option(
    "--limit", "limits", multiple=True, metavar="KEY", help="One more limit it comes under; repeatable."
)
@click.option("--lane", metavar="NAME", help="Lanes are served in turn, so one's backlog delays no other.")
@click.option(
    "--priority",
    type=click.Choice(list(HEAD_STARTS_S)),
    default="normal",
    show_default=True,
    help="Who is served first within a lane.",
)
def enqueue(function: str, args: tuple[str, ...], pairs: tuple[str, ...], **terms: Any) -> None:
    """Put a job in the queue and print its id.

    Every ARG and VALUE is JSON where it reads as JSON, else a text. For chat and embed, ARG is the prompt
    or the texts and each KEY a field of the request:

        promptmill enqueue chat "Why is the sky blue?" --kwarg model=openai/gpt-4o-mini
    """
    texts = function in ("chat", "embed")  # a prompt such as 42 is a text, though it reads as a number
    values = [_text_or_json(arg) if texts else read_value(arg) for arg in args]
    run_command(_enqueue(function, values, dict(map(read_pair, pairs)), terms))


def read_value(text: str) -> Any:
    """The JSON value that `text` is, or else the text itself."""
    try:
        return from_json(text.encode(), allow_inf_nan=False)
    except ValueError:  # or no UTF-8, as a terminal of another coding gives it
        return text


def read_pair(pair: str) -> tuple[str, Any]:
    """KEY=VALUE. Raises click.BadParameter."""
    key, equals, value = pair.partition("=")
    if not equals or not key.isidentifier():
        raise click.BadParameter(f"{pair!r} is not KEY=VALUE.", param_hint="--kwarg")
    if key.startswith("_"):
        raise click.BadParameter(f"{key!r} is reserved.", param_hint="--kwarg")
    return key, read_value(value)


async def put(
    queue: Queue, function: str, args: list[Any], kwargs: dict[str, Any], terms: dict[str, Any]
) -> Job[Any]:
    """Enqueues it; `terms` are the options of the command line. Raises click.UsageError."""
    if function not in ("chat", "embed"):
        underscored = {f"_{name}": value for name, value in terms.items()}
        return await queue.enqueue(function, *args, **underscored, **kwargs)
    if reserved := kwargs.keys() & terms.keys():
        raise click.UsageError(f"Give {min(reserved)} as an option of its own, not as --kwarg.")
    if function == "embed" and args:
        texts = args[0] if isinstance(args[0], list) else args
        return await queue.embed(texts, **terms, **kwargs)
    if function == "embed" or len(args) > 1:
        raise click.UsageError("chat takes one prompt (quote it), embed one text or more.")
    prompt = args[0] if args else {key: kwargs.pop(key) for key in ("messages", "prompt") if key in kwargs}
    return await queue.chat(prompt, **terms, **kwargs)


def _text_or_json(arg: str) -> Any:
    value = read_value(arg)
    return value if isinstance(value, list | dict) else arg


async def _enqueue(function: str, args: list[Any], kwargs: dict[str, Any], terms: dict[str, Any]) -> None:
    async with open_queue("enqueue") as (queue, stack):
        job = await put(queue, function, args, kwargs, terms)
        say(job.id)
        if not await queue.workers_alive():
            say(f"It waits: {no_worker_hint(stack)}.", err=True)
