"""`promptmill ask PROMPT`."""

from __future__ import annotations

import sys
from typing import Any

import click

from client.wire.schemas import Shortfall

from .interrupts import run_command
from .open_queue import no_worker_hint, open_queue
from .printing import print_result, print_stream
from .terminal import say

# What an answer lacks, and what may help
_SHORTFALLS: dict[Shortfall, str] = {
    "empty": "The answer has no words: a model that thinks may have spent all its tokens on that.",
    "cut_off": "The answer was cut off at the limit of tokens.",
    "filtered": "A content filter stopped the answer.",
}


@click.command()
@click.argument("prompt")
@click.option("--model", metavar="PROVIDER/MODEL", help="The model; DEFAULT_MODEL where left out.")
@click.option("--system", metavar="TEXT", help="The system prompt.")
@click.option("--tenant", metavar="NAME", help="Whose limits it comes under, besides the model's.")
@click.option("--simulate", is_flag=True, help="Ask a simulated provider: no key, no cost.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer with its usage and cost as JSON.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long to wait; without it, as long as it takes.",
)
@click.option(
    "--stream/--no-stream",
    "stream",
    default=None,
    help="Print the answer as it is written; without either flag, where standard output is a terminal.",
)
def ask(
    prompt: str,
    *,
    simulate: bool,
    as_json: bool,
    stream: bool | None,
    timeout_s: float | None,
    **options: Any,
) -> None:
    """Complete one prompt and print the answer.

    A PROMPT of - is read from standard input.
    """
    text = read_prompt() if prompt == "-" else prompt
    if stream and as_json:
        raise click.UsageError("--stream prints text as it comes, and --json all at the end: leave one out.")
    options["stream"] = not as_json and (sys.stdout.isatty() if stream is None else stream)
    run_command(_ask(text, options, simulate=simulate, as_json=as_json, timeout_s=timeout_s))


def read_prompt() -> str:
    """Standard input, which is UTF-8, or else in the coding of the locale."""
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode(sys.stdin.encoding or "utf-8", errors="replace")


async def _ask(
    prompt: str, options: dict[str, Any], *, simulate: bool, as_json: bool, timeout_s: float | None
) -> None:
    async with open_queue("ask", worker=True, simulate=simulate) as (queue, stack):
        job = await queue.chat(prompt, **options)
        if stack.kind == "given" and not await queue.workers_alive():
            say(f"Waiting: {no_worker_hint(stack)}.", err=True)
        if options["stream"]:
            await print_stream(job, timeout_s)
            answer = await job.result()
        else:
            answer = await job.result(timeout_s)
            print_result(answer, as_json=as_json)
        if answer.shortfall:
            say(_SHORTFALLS[answer.shortfall], err=True)
