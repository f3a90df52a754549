"""`promptmill up`."""

from __future__ import annotations

import asyncio
import shlex
from functools import partial

import click

from settings import load

from .interrupts import run_command
from .stack import Stack, StackError, open_stack
from .terminal import say


@click.command()
@click.option("--simulate", is_flag=True, help="Calls go to a simulated provider: no key, no cost.")
@click.option(
    "--max-jobs", type=click.IntRange(1, 20_000), metavar="N", help="Calls at once; MAX_JOBS where left out."
)
def up(simulate: bool, max_jobs: int | None) -> None:
    """Run a private server and a worker until Ctrl-C.

    Every other command in the same directory uses them meanwhile.
    """
    run_command(_up(simulate=simulate, max_jobs=max_jobs))


async def _up(*, simulate: bool, max_jobs: int | None) -> None:
    tell = partial(say, err=True)
    stack_of = open_stack(load(), worker=True, simulate=simulate, max_jobs=max_jobs, owner="up", say=tell)
    async with stack_of as stack:
        if stack.kind == "attached":
            raise StackError(f"`promptmill up` is running already, with its data in {stack.data_dir}.")
        say(usage_of(stack))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tell("Stopping: calls in flight are finished first; Ctrl-C again stops at once.")
            raise


def usage_of(stack: Stack) -> str:
    """How to use the stack from another terminal."""
    return "\n".join(
        (
            f"Up: {stack.describe()}.",
            "",
            f"  export REDIS_URL={shlex.quote(stack.redis_url)}",
            f"  logs: {stack.data_dir}/*.log",
            "",
            'Try `promptmill ask "Why is the sky blue?"` here in another terminal. Ctrl-C stops everything.',
        )
    )
