"""A failure → one sentence on stderr and the exit code. The one place where this is decided."""

from __future__ import annotations

import io

import click

from .terminal import say

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
TERMINATED = 143  # 128 + SIGTERM
CLOSED_PIPE = 0  # whoever read our output had enough of it, which is no failure


def report(error: BaseException) -> int:
    """Says what went wrong and returns the exit code. Anything unforeseen is a fault of ours: it is
    raised again, with its trace."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        words = io.StringIO()
        error.show(words)
        say(words.getvalue(), err=True, end="")
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        say("Interrupted.", err=True)
        return INTERRUPTED
    if isinstance(error, UnicodeEncodeError) and not _is_text(error.object):
        say(f"promptmill: What was typed is not UTF-8: {error.object!r}. Look at LANG and LC_ALL.", err=True)
        return WRONG_USAGE
    code = _code(error)
    if code is None:
        raise error
    say(f"promptmill: {error}", err=True)
    return code


def _is_text(typed: str) -> bool:
    """Whether it has none of the marks that stand for bytes of a command line in another coding."""
    return not any("\udc80" <= character <= "\udcff" for character in typed)


def _code(error: BaseException) -> int | None:
    from client import InvalidRedisURL, InvalidRequest, MillError
    from settings import SettingsError

    from .stack import StackError

    if isinstance(error, SettingsError | InvalidRedisURL | InvalidRequest):
        return WRONG_USAGE
    return FAILED if isinstance(error, MillError | StackError) else None
