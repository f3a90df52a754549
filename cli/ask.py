"""`promptmill ask PROMPT`."""

from __future__ import annotations

import asyncio
import sys

import click

from .opening import no_worker_hint, open_queue
from .printing import print_result


@click.command()
@click.argument("prompt")
@click.option("--model", metavar="PROVIDER/MODEL", help="The model; DEFAULT_MODEL where left out.")
@click.option("--system", metavar="TEXT", help="The system prompt.")
@click.option("--simulate", is_flag=True, help="Ask a simulated provider: no key, no cost.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer with its usage and cost as JSON.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long to wait; without it, as long as it takes.",
)
def ask(
    prompt: str, model: str | None, system: str | None, simulate: bool, as_json: bool, timeout_s: float | None
) -> None:
    """Complete one prompt and print the answer.

    A PROMPT of - is read from standard input.
    """
    text = sys.stdin.read() if prompt == "-" else prompt
    asyncio.run(_ask(text, model, system, simulate=simulate, as_json=as_json, timeout_s=timeout_s))


async def _ask(
    prompt: str,
    model: str | None,
    system: str | None,
    *,
    simulate: bool,
    as_json: bool,
    timeout_s: float | None,
) -> None:
    async with open_queue("ask", worker=True, simulate=simulate) as (queue, stack):
        job = await queue.chat(prompt, model=model, system=system)
        if stack.kind == "given" and not await queue.workers_alive():
            click.echo(f"Waiting: {no_worker_hint(stack)}.", err=True)
        print_result(await job.result(timeout_s), as_json=as_json)
