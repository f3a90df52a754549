"""`promptmill dead`: the jobs that were set aside, for the person who is paged."""

from __future__ import annotations

import click

from client import DeadLetter

from .open_queue import with_queue
from .printing import field, json_option, print_json, seconds_option
from .terminal import say

_all = click.option("--all", "everything", is_flag=True, help="All of them.")
_job_ids = click.argument("job_ids", nargs=-1, metavar="[ID]...")


@click.group()
def dead() -> None:
    """Look at dead letters, run them again or delete them.

    A dead letter is a job that took three workers with it, that failed on every try it had, or that
    no worker could read before its deadline.
    """


@dead.command("list")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many."
)
@json_option
def list_(limit: int, as_json: bool) -> None:
    """List them, the latest first."""
    letters = with_queue("dead", lambda queue: queue.dead.latest(limit=limit))
    if as_json:
        print_json(letters)
        return
    for letter in letters:
        named = (letter.job_id, letter.function, letter.error)
        say("  ".join((f"{letter.died_at:%F %T}", *map(field, named))))
    if not letters:
        say("There are no dead letters.", err=True)


@dead.command()
@click.argument("job_id", metavar="ID")
@json_option
def show(job_id: str, as_json: bool) -> None:
    """Show one, with its arguments and its history."""
    letter = with_queue("dead", lambda queue: queue.dead.get(job_id))
    print_json(letter) if as_json else say(_describe(letter))


@dead.command()
@_job_ids
@_all
@seconds_option("--spread", "Stagger them evenly over this time.")
def retry(job_ids: tuple[str, ...], everything: bool, spread_s: float) -> None:
    """Queue them again under their ids, with all their tries."""
    ids = _chosen(job_ids, everything)
    revived = with_queue("dead", lambda queue: queue.dead.retry(ids, spread_s=spread_s))
    say(f"{len(revived)} queued again.")
    if ids and (left := [id_ for id_ in ids if id_ not in revived]):
        raise click.ClickException(
            f"Not queued, as there is no such letter or its id is in use: {', '.join(left)}."
        )


@dead.command()
@_job_ids
@_all
def delete(job_ids: tuple[str, ...], everything: bool) -> None:
    """Delete them for good."""
    ids = _chosen(job_ids, everything)
    deleted = with_queue("dead", lambda queue: queue.dead.delete(ids))
    say(f"{deleted} deleted.")


def _chosen(job_ids: tuple[str, ...], everything: bool) -> list[str] | None:
    if everything == bool(job_ids):
        raise click.UsageError("Name the ids, or say --all.")
    return None if everything else list(job_ids)


def _describe(letter: DeadLetter) -> str:
    lines = [
        f"{field(letter.job_id)}  {field(letter.function)}",
        f"  died      {letter.died_at:%F %T} UTC",
        f"  lane      {field(letter.lane)}",
        f"  error     {field(letter.error)}",
    ]
    lines += [f"  crashed   {moment:%F %T} UTC" for moment in letter.crashed_at]
    lines += [
        f"  attempt {a.number} {a.started_at:%F %T} UTC  {field(a.model)}  {a.error}" for a in letter.attempts
    ]
    return "\n".join(lines)
