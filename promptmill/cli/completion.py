"""`promptmill completion SHELL`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .terminal import say

PROGRAM = "promptmill"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For example, in ~/.bashrc: eval "$(promptmill completion bash)"
    """
    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    say(script(ctx.find_root().command, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source())
