"""Calls to an LLM, as promptmill makes them, beside the loops and the workers that people write instead.

Every case has a server, a simulated provider and a worker of its own, each a process. What is compared with a worker
is a process, too, and makes the same calls in the same run. `--only` names some of CASES.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click

from benchmarks.options import Options
from benchmarks.report import Case

from .plain import plain
from .stored import stored
from .streams import readers, streams
from .threads import threads
from .transport import transport
from .vectors import vectors

CASES: dict[str, Callable[[Options], Awaitable[list[Case]]]] = {
    measure.__name__: measure for measure in (plain, streams, readers, threads, transport, vectors, stored)
}


async def run(options: Options) -> list[Case]:
    """Raises UsageError where `options.only` names a case that there is not."""
    if unknown := set(options.only) - CASES.keys():
        raise click.UsageError(f"llm has no case {', '.join(sorted(unknown))}: it has {', '.join(CASES)}.")
    cases: list[Case] = []
    for name in options.only or CASES:
        cases += await CASES[name](options)
    return cases
