"""`promptmill run`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, get_args

import click

from client import InvalidRequest, Queue
from client.limits.rules.lanes import place
from promptmill.cli.interrupts import SAME_SIGNAL_S, interrupted
from promptmill.cli.printing import print_json
from promptmill.cli.stack import is_simulated, open_stack
from promptmill.cli.terminal import say
from settings import Settings, load

from .items import Invalid
from .options import STDIN, Defaults, FileFormat, InputError, OutputError, RunOptions
from .plan import Plan, open_plan
from .progress import PlainProgress, open_progress
from .runner import StopSignal, conclude
from .runner import run as run_plan
from .summary import INTERRUPTED, RunSummary
from .table import table

LARGE_BYTES = 20 * 2**20  # an input whose check takes seconds
MOST_COMPLAINTS = 15  # lines of a file that is refused that are named
WRONG_USAGE = 2  # exit status: nothing was sent


class RunRefused(click.ClickException):
    """The run cannot start; one sentence."""

    exit_code = WRONG_USAGE

    def show(self, file: IO[Any] | None = None) -> None:
        _say(f"promptmill: {self.message}")


@click.command()
@click.argument("file", metavar="FILE")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("answers.jsonl"), show_default=True
)
@click.option(
    "--errors", type=click.Path(path_type=Path), help="The error file.  [default: OUTPUT.errors.jsonl]"
)
@click.option("--format", type=click.Choice(get_args(FileFormat)), default="auto", show_default=True)
@click.option("--template", help='Makes the prompt from columns of CSV or JSONL: "Summarise: {text}".')
@click.option("--model", help="For lines that name none.  [default: DEFAULT_MODEL]")
@click.option("--system", help="The system message, for lines that have none.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="For lines that do not say.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="For lines that do not say.")
@click.option("--skip-invalid", is_flag=True, help="Leave bad lines out instead of refusing the file.")
@click.option("--retry-errors", is_flag=True, help="Send the lines again that failed in an earlier run.")
@click.option("--retry-empty", is_flag=True, help="Ask again where an answer is empty, cut off or filtered.")
@click.option(
    "--window", type=click.IntRange(min=1), help="Jobs in the queue at once.  [default: 4 x MAX_JOBS]"
)
@click.option("--tenant", metavar="NAME", help="Whose limits the run comes under, besides its models'.")
@click.option(
    "--limit", "limits", multiple=True, metavar="KEY", help="One more limit it comes under; repeatable."
)
@click.option("--concurrency", type=click.IntRange(1, 20_000), help="Calls at once of the private worker.")
@click.option(
    "--simulate",
    is_flag=True,
    help="Ask a simulated provider, on a private server: no key, no cost.",
)
@click.option("--table", "with_table", is_flag=True, help="Print the answers as a table when done.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    *,
    file: str,
    concurrency: int | None,
    simulate: bool,
    with_table: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Complete the prompts of a JSONL file.

    FILE is JSONL ({"prompt": …}, {"messages": …} or OpenAI batch lines), text with a prompt a line, or
    CSV with --template; "-" is standard input. Each answer is written as it comes. Run again, the same
    command goes on where it stopped: finished lines are neither sent nor paid for again.

    Exit status: 0 all answered, 1 some failed, 2 wrong usage or input, 130 interrupted.
    """
    settings = load()
    if concurrency is not None:
        settings = settings.model_copy(update={"max_jobs": concurrency})
    with _refusing():
        options = _options(file, settings, simulate=simulate, **flags)
        summary = _run(options, settings, simulate=simulate)
    for line in summary.lines():
        _say(line)
    if with_table and options.output.exists():
        say("\n".join(table(options.output)))
    if as_json:
        print_json(summary.as_dict(), indent=None)
    ctx.exit(summary.exit_code)


def _options(
    file: str,
    settings: Settings,
    *,
    simulate: bool,
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    tenant: str | None,
    limits: tuple[str, ...],
    **flags: Any,
) -> RunOptions:
    is_private = simulate or settings.redis_url is None  # a fleet has models and keys of its own
    defaults = Defaults(
        model=model or (settings.default_model if is_private else None),
        embed_model=model or (settings.default_embed_model if is_private else None),
        system=system,
        max_tokens=max_tokens,
        temperature=temperature,
    )
    return RunOptions(
        file,
        defaults=defaults,
        limits=place(tenant, limits=limits),
        check_providers=is_private,
        keys_needed=not (simulate or is_simulated(settings)),
        **flags,
    )


def _run(options: RunOptions, settings: Settings, *, simulate: bool) -> RunSummary:
    if options.input == STDIN and sys.stdin.isatty():
        _say("Reading prompts from the terminal, one a line; end with Ctrl-D.")
    elif _is_large(options.input):
        _say(f"Checking every line of {options.input} before anything is sent.")
    with open_plan(options, settings, on_invalid=_Complaints(options.skip_invalid)) as plan:
        if plan.report.pending == 0:
            return conclude(plan)
        _say_age(plan)
        return asyncio.run(_with_stack(plan, settings, simulate=simulate))


def _is_large(name: str) -> bool:
    with suppress(OSError):
        return os.stat(name).st_size > LARGE_BYTES
    return False


async def _with_stack(plan: Plan, settings: Settings, *, simulate: bool) -> RunSummary:
    stop, progress = StopSignal(), open_progress(sys.stderr)
    with _stopping(stop, progress):
        async with open_stack(settings, worker=True, simulate=simulate) as stack:
            _say(f"{plan.report.pending:,} to send, on {stack.describe()}.")
            cert_reqs = stack.settings.redis_ssl_cert_reqs
            try:
                async with Queue.from_url(stack.redis_url, ssl_cert_reqs=cert_reqs) as queue:
                    summary = await run_plan(plan, queue, progress=progress, stop=stop)
            except asyncio.CancelledError:  # a process of the stack died, which the stack will say
                _say(
                    f"Every answer so far is in {plan.options.output}: run the same command again to resume."
                )
                raise
            if summary.is_interrupted and stack.kind == "private":
                _say("Letting the calls in flight end; Ctrl-C again leaves at once.")
    return summary


@contextmanager
def _stopping(stop: StopSignal, progress: PlainProgress) -> Iterator[None]:
    """Ctrl-C asks to stop; a second one ends the process, whose children end with it."""

    def leave() -> None:
        progress.__exit__(None, None, None)
        os._exit(INTERRUPTED)

    with interrupted(stop.request, leave, same_s=SAME_SIGNAL_S):
        yield


@contextmanager
def _refusing() -> Iterator[None]:
    """What is wrong with the input or the disk becomes one sentence and its exit status."""
    try:
        yield
    except (InputError, InvalidRequest) as error:
        raise RunRefused(str(error)) from None
    except OutputError as error:
        raise click.ClickException(str(error)) from None
    except sqlite3.Error as error:
        raise click.ClickException(
            f"The temporary folder cannot hold the index of the run: {error}."
        ) from error


def _say_age(plan: Plan) -> None:
    age_s, ttl_s = plan.sidecar.age_s, plan.settings.result_ttl_s
    if age_s is not None and age_s > ttl_s:
        _say(
            f"The interrupted run is {age_s / 3600:,.0f} hours old: answers that were in flight may have "
            "expired, and will be asked for, and paid for, again."
        )


class _Complaints:
    """Tells of bad lines: of the first ones where the file is refused, of each where they are left out."""

    def __init__(self, all_: bool) -> None:
        self._left = sys.maxsize if all_ else MOST_COMPLAINTS

    def __call__(self, item: Invalid) -> None:
        if self._left > 0:
            _say(f"Line {item.line}: {item.reason}")
        elif self._left == 0:
            _say("More lines are bad; these are the first.")
        self._left -= 1


def _say(sentence: str) -> None:
    say(sentence, err=True)
