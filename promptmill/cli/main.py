"""The group of commands. Each is imported when it is asked for, so that `promptmill --help` is quick."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from promptmill.names import NameTaken, refuse_others

from .failures import CLOSED_PIPE, INTERRUPTED, TERMINATED, WRONG_USAGE, report
from .terminal import say, take_over

# name → where it is, and its line in the help, which a test holds to the command's own
COMMANDS = {
    "run": ("promptmill.cli.run.command:run", "Complete the prompts of a JSONL file."),
    "up": ("promptmill.cli.up:up", "Run a private server and a worker until Ctrl-C."),
    "ask": ("promptmill.cli.ask:ask", "Complete one prompt and print the answer."),
    "enqueue": ("promptmill.cli.enqueue:enqueue", "Put a job in the queue and print its id."),
    "status": ("promptmill.cli.jobs:status", "Say what has become of a job."),
    "result": ("promptmill.cli.jobs:result", "Print what a job returned."),
    "abort": ("promptmill.cli.jobs:abort", "End a job, whether queued or running."),
    "limits": ("promptmill.cli.limits:limits", "Look at limits, set, pause and remove them."),
    "cost": ("promptmill.cli.cost:cost", "Add up what calls have cost."),
    "dead": ("promptmill.cli.dead:dead", "Look at dead letters, run them again or delete them."),
    "stats": ("promptmill.cli.stats:stats", "Count the jobs and say how the server is."),
    "doctor": ("promptmill.cli.doctor:doctor", "Check the server, the providers and the settings."),
    "simulator": ("promptmill.simulator.command:simulator", "Run the simulated provider."),
    "completion": ("promptmill.cli.completion:completion", "Print the completion script of a shell."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported by name, and whose failures all become one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = (
            CompletionItem(name, help=line)
            for name, (_, line) in COMMANDS.items()
            if name.startswith(incomplete)
        )
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Runs a command and exits: 0 ok, 1 failed, 2 wrong usage or settings, 130 interrupted."""
        run: Any = super().main
        if not standalone_mode:
            return run(*args, standalone_mode=False, **extra)
        try:
            code = run(*args, standalone_mode=False, **extra)
            sys.stdout.flush()  # a pipe closed by now is met here, not at exit
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = CLOSED_PIPE
        except (Exception, KeyboardInterrupt) as error:
            code = report(error)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def promptmill(ctx: click.Context) -> None:
    """A Redis job queue for LLM calls.

    Settings come from the environment and from .env; without REDIS_URL a private server is used,
    with its data in .promptmill.
    """
    ctx.ensure_object(dict)


def _print_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        try:
            say(f"promptmill {version('promptmill')}")
        except PackageNotFoundError:
            say("promptmill, not installed")
        ctx.exit()


promptmill.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_print_version,
        help="Print the version.",
    )
)


def main() -> NoReturn:
    """The entry point: a command that is told to stop (TERM, a closed terminal) stops as with Ctrl-C."""
    take_over()
    told: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        told.append(number)
        signal.raise_signal(signal.SIGINT)

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupt)
    try:
        refuse_others()
    except NameTaken as error:
        say(f"promptmill: {error}", err=True)
        sys.exit(WRONG_USAGE)
    try:
        promptmill(prog_name="promptmill")
    except SystemExit as end:
        if end.code == INTERRUPTED and told:
            sys.exit(TERMINATED)
        raise
    sys.exit(0)
