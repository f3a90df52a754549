"""`promptmill limits`: what is limited, by how much, and how it goes, for the whole fleet."""

from __future__ import annotations

import click

from client import Limit, LimitState
from client.limits.rules.limit import FIELDS, parse_changes

from .open_queue import with_queue
from .printing import json_option, print_json, table
from .terminal import say

COLUMNS = ("KEY", "LIMIT", "EFFECTIVE", "IN-USE", "WAITING", "COOLDOWN", "RPM-USED", "TPM-USED")
_TEXTS = 2  # columns that are text

_key = click.argument("key", metavar="KEY")


@click.group()
def limits() -> None:
    """Look at limits, set, pause and remove them.

    A KEY is a model (openai/gpt-4o), its provider (openai), a tenant (tenant:acme), a conversation
    (conversation:42), a name of yours, or a pattern for all keys that begin so (tenant:*). A change is in
    force at once, on every worker.
    """


@limits.command("list")
@click.argument("pattern", metavar="[PATTERN]", required=False)
@json_option
def list_(pattern: str | None, as_json: bool) -> None:
    """List the keys that are limited, waited for, in use, or known from before.

    With a PATTERN, such as tenant:*, those that begin so. Behind a LIMIT stands where it comes from, if not from a
    rule of its own, and what the settings say where it was changed since.
    """
    states = with_queue("limits", lambda queue: queue.limits.list(pattern))
    if as_json:
        print_json(states)
        return
    if not states:
        say("Nothing is limited, waited for or in use.", err=True)
        return
    say(table([COLUMNS, *map(row, states)], texts=_TEXTS))


@limits.command("set", epilog=f"Fields: {', '.join(FIELDS)}.")
@_key
@click.argument("words", nargs=-1, required=True, metavar="FIELD=VALUE...")
def set_(key: str, words: tuple[str, ...]) -> None:
    """Set fields of a limit.

    The other fields stay; FIELD=none takes one away. For example: openai/gpt-4o concurrency=50 rpm=600
    """
    changes = parse_changes(words)
    _tell(key, with_queue("limits", lambda queue: queue.limits.set(key, **changes)))


@limits.command()
@_key
@click.pass_context
def remove(ctx: click.Context, key: str) -> None:
    """Take away what was set for a key.

    A pattern that matches the key holds for it again.
    """
    if not with_queue("limits", lambda queue: queue.limits.remove(key)):
        raise click.ClickException(f"{key} has no limit of its own: see `promptmill limits list`.")
    say(f"{key}: removed")


@limits.command()
@_key
def pause(key: str) -> None:
    """Start nothing more under a key.

    What runs goes on. `resume` ends it.
    """
    _tell(key, with_queue("limits", lambda queue: queue.limits.pause(key)))


@limits.command()
@_key
def resume(key: str) -> None:
    """End a pause, and a cooldown."""
    _tell(key, with_queue("limits", lambda queue: queue.limits.resume(key)))


@limits.command()
@_key
def reset(key: str) -> None:
    """Begin the budgets of a key anew.

    What was used of rpd, tpd, usd_per_day and usd_total counts no more, and what waits for them starts.
    `promptmill cost` stays as it is.
    """
    counted = with_queue("limits", lambda queue: queue.limits.reset(key))
    say(f"{key}: {'budgets begin anew' if counted else 'nothing had been counted'}")


@limits.command()
@_key
@click.argument("holder", metavar="[HOLDER]", required=False)
def evict(key: str, holder: str | None) -> None:
    """Take the slots of a key from their holders.

    All of them, or the one HOLDER. Their work is cancelled, and jobs go back to the queue.
    """
    evicted = with_queue("limits", lambda queue: queue.limits.evict(key, holder))
    say(f"{evicted:,} evicted.")


def row(state: LimitState) -> tuple[str, ...]:
    """A line of the table."""
    origin = {"own": "", "none": " (no rule)"}.get(state.source, f" ({state.source})")
    if state.overridden is not None:
        origin += f" (settings: {state.overridden or '-'})"
    return (
        state.key,
        (state.limit.words() or "-") + origin,
        "-" if state.effective is None else f"{state.effective:,}",
        f"{state.in_use:,}",
        f"{state.waiting:,}",
        f"{state.cooldown_s:.1f} s" if state.cooldown_s else "-",
        _used(state.rpm, state.requests_left),
        _used(state.tpm, state.tokens_left),
    )


def _used(per_minute: float | None, left: float | None) -> str:
    """How much of the bucket, a tenth of a minute, is used; above 100 % where estimates were too low."""
    if per_minute is None or left is None:
        return "-"
    full = max(1.0, per_minute / 10)
    return f"{max(0.0, 1 - left / full):.0%} of {per_minute:,.10g}"


def _tell(key: str, limit: Limit) -> None:
    say(f"{key}: {limit.words() or 'no limit of its own'}")
