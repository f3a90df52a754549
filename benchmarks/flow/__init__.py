"""Flow control: limits held, limits used, and what it costs. Workers are real processes; what happened is what the
simulated provider, a process too, has counted.

Every case has a server, a provider and workers of its own, which are up before its jobs are enqueued. `--only` names
some of CASES.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click

from benchmarks.options import Options
from benchmarks.report import Case

from .admission import cost
from .congestion import ceiling, odd, outage, unlimited
from .fairness import backlog, tenants
from .rates import rpm, tpm
from .slots import crowd, killed

CASES: dict[str, Callable[[Options], Awaitable[list[Case]]]] = {
    measure.__name__: measure
    for measure in (crowd, killed, backlog, tenants, rpm, tpm, unlimited, ceiling, odd, outage, cost)
}


async def run(options: Options) -> list[Case]:
    """Raises UsageError where `options.only` names a case that there is not."""
    if unknown := set(options.only) - CASES.keys():
        raise click.UsageError(f"flow has no case {', '.join(sorted(unknown))}: it has {', '.join(CASES)}.")
    cases: list[Case] = []
    for name in options.only or CASES:
        cases += await CASES[name](options)
    return cases
