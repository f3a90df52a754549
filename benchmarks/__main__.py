"""`python -m benchmarks [NAME …]`: how well promptmill does, beside its peers on this machine."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from . import peers as all_peers
from .machine import describe
from .options import Options
from .ours import OURS
from .report import Case, as_json, as_table

NAMES = (
    "throughput",
    "latency",
    "idle",
    "fleet",
    "recovery",
    "enqueue",
    "concurrency",
    "memory",
    "flow",
    "llm",
)
HTTP_CLIENTS = ("httpx", "httpx-aiohttp", "aiohttp", "openai")  # packages; those of llm


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("--json", "json_", is_flag=True, help="Print one JSON object for each benchmark.")
@click.option("--quick", is_flag=True, help="Small counts: whether it runs, not how well.")
@click.option("--peers", default=",".join(all_peers.NAMES), show_default=True, help="Beside whom, or none.")
@click.option("--only", default="", help="These cases of flow or llm, such as crowd,outage.")
@click.option(
    "--save", type=click.Path(file_okay=False, path_type=Path), help="Write NAME.json files here too."
)
def main(names: tuple[str, ...], json_: bool, quick: bool, peers: str, only: str, save: Path | None) -> None:
    """Runs the benchmarks NAME, all of them by default: throughput, latency, idle, fleet, recovery,
    enqueue, concurrency, memory, flow, llm.

    Each starts its own server and workers on this machine and ends them. The status is 0 when they ran,
    whether or not their goals were met.
    """
    wanted = _listed(peers)
    if unknown := set(wanted) - set(all_peers.NAMES):
        raise click.BadParameter(f"unknown: {', '.join(sorted(unknown))}", param_hint="--peers")
    found, absent = all_peers.find(wanted)
    options = Options(quick, found, absent, _listed(only))
    machine = describe(
        [*(package for system in (OURS, *found) for package in system.packages), *HTTP_CLIENTS]
    )
    for name in names or NAMES:
        print(f"{name}:", file=sys.stderr, flush=True)
        cases = _run(name, options)
        document = as_json(name, machine, cases)
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            (save / f"{name}.json").write_text(document + "\n")
        print(document if json_ else as_table(name, cases), flush=True)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]


def _run(name: str, options: Options) -> Sequence[Case]:
    cases: list[Case] = asyncio.run(import_module(f"{__package__}.{name}").run(options))
    return cases


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # TERM clears away as Ctrl-C does
    main(prog_name="python -m benchmarks")
