"""`promptmill cost`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from typing import get_args

import click

from client.costs import By, Cost

from .open_queue import with_queue
from .printing import json_option, print_json, table
from .terminal import say

GROUPS: tuple[By, ...] = get_args(By)
COLUMNS = ("CALLS", "ERRORS", "INPUT", "CACHED", "OUTPUT", "REASONING", "USD", "UNKNOWN", "UNPRICED")


def _day(ctx: click.Context, param: click.Parameter, value: str | None) -> date | None:
    """A date, or how many days to look back: 7d are today and the six days before."""
    if value is None:
        return None
    today = datetime.now(UTC).date()
    if found := re.fullmatch(r"(\d{1,4})d", value):
        return today - timedelta(days=max(0, int(found[1]) - 1))
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither a number of days such as 7d nor a date such as {today}."
        ) from None


def _groups(ctx: click.Context, param: click.Parameter, value: str) -> tuple[By, ...]:
    names = [name.strip() for name in value.split(",")]
    groups = tuple(group for name in names for group in GROUPS if group == name)
    if len(groups) != len(names):
        raise click.BadParameter(f"{value!r} is not made of {', '.join(GROUPS)}, with commas between them.")
    return groups


@click.command()
@click.option(
    "--by", default="model", metavar="NAMES", callback=_groups, help="model, tenant, day, or several."
)
@click.option(
    "--since", default="7d", metavar="DAY", callback=_day, help="The first day: 7d, or a date in UTC."
)
@click.option("--until", metavar="DAY", callback=_day, help="The last day; today by default.")
@json_option
def cost(by: tuple[By, ...], since: date, until: date | None, as_json: bool) -> None:
    """Add up what calls have cost.

    Every call to a provider counts, failed and cancelled ones, too. UNKNOWN is how many calls did not tell
    their tokens, UNPRICED how many have no known price: USD is the sum of the others.
    """
    found = with_queue("cost", lambda queue: queue.costs(since, until, by=by))
    if as_json:
        print_json(found)
    elif found:
        say(cost_table(found, by))
    else:
        say("No calls were made in that time.", err=True)


def cost_table(costs: Sequence[Cost], by: Sequence[By]) -> str:
    """A line for each, and the total where there are several."""
    rows = [(*(name.upper() for name in by), *COLUMNS)]
    rows += [(*(str(getattr(each, name)) for name in by), *_numbers(each)) for each in costs]
    if len(costs) > 1:
        rows.append((*("total", *("" for _ in by))[: len(by)], *_numbers(reduce(Cost.__add__, costs))))
    return table(rows, texts=len(by))


def _numbers(cost: Cost) -> tuple[str, ...]:
    counts = (
        *(cost.calls, cost.errors, cost.input_tokens, cost.cached_input_tokens),
        *(cost.output_tokens, cost.reasoning_tokens),
    )
    usd = "-" if cost.usd is None else f"{cost.usd:,.4f}"
    return *(f"{count:,}" for count in counts), usd, f"{cost.unknown_calls:,}", f"{cost.unpriced_calls:,}"
