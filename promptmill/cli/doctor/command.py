"""`promptmill doctor`."""

from __future__ import annotations

import asyncio

import click

from client import MillError
from client.redis.url import server_address
from promptmill.cli.failures import FAILED
from promptmill.cli.interrupts import run_command
from promptmill.cli.open_queue import open_queue
from promptmill.cli.printing import field, print_json
from promptmill.cli.stack import StackError
from promptmill.cli.terminal import say, say_in_colour
from settings import Settings, load

from .checks import (
    Finding,
    check_connections,
    check_cpu_workers,
    check_drain,
    check_eviction,
    check_memory,
    check_persistence,
    check_rights,
    check_transport,
    check_unreadable,
    check_version,
    check_workers,
    has_failed,
)
from .probe import probe
from .providers import check_providers

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "yellow"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check the server, the providers and the settings.

    Each check is ok, warn, fail or unknown. Exits with 1 where one fails.
    """
    findings = run_command(examine(load()))
    if as_json:
        print_json(findings)
    else:
        _print(findings)
    if has_failed(findings):
        ctx.exit(FAILED)


async def examine(settings: Settings) -> list[Finding]:
    """Every finding; a server that cannot be had is one of them."""
    server, providers = await asyncio.gather(_examine_server(), check_providers(settings))
    return [*server, *providers, check_drain(settings.drain_s)]


async def _examine_server() -> list[Finding]:
    try:
        async with open_queue("doctor") as (queue, stack):
            facts = await probe(queue)
    except (MillError, StackError) as error:
        return [Finding("server", "fail", "cannot be used", str(error))]
    return [
        check_version(facts.info),
        check_transport(server_address(stack.redis_url, ssl_cert_reqs=stack.settings.redis_ssl_cert_reqs)),
        check_rights(facts.rights_missing),
        check_eviction(facts.info, facts.config),
        check_memory(facts.info, facts.config),
        check_persistence(facts.info, facts.config),
        check_connections(facts.info, facts.config),
        check_workers(alive=facts.workers_alive, private=stack.kind == "private"),
        check_cpu_workers(alive=facts.cpu_workers_alive, jobs=facts.cpu_jobs),
        check_unreadable(facts.unreadable),
    ]


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        say_in_colour(f"{finding.level:<7}", _COLOURS[finding.level])
        say(f"  {finding.check:<{width}}  {field(finding.found)}")
        if finding.advice:
            say(f"{'':<9}{'':<{width}}  → {field(finding.advice)}")
