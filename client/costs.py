"""What calls have cost: totals of every physical attempt, by model, tenant and day."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, TypeAlias, get_args

from redis.asyncio import Redis

from .errors import InvalidRequest
from .redis.connection import reachable
from .redis.strange import nothing_if_strange
from .wire.keys import Keys

By: TypeAlias = Literal["model", "tenant", "day"]

KEPT_DAYS = 400
MOST = 10**15  # tokens, or US dollars, of a day: a larger number is nobody's count
NO_TENANT = "-"
_SCAN = 1_000  # fields a round trip
_GROUPS: tuple[By, ...] = get_args(By)


@dataclass(slots=True)
class Cost:
    """A total. `model`, `tenant` and `day` are None where it was not asked for by them.

    What a call did not tell is in none of the sums: `unknown_calls` did not tell their tokens, or not all, and
    the price of `unpriced_calls` is not known. So `usd` is the least that was paid, and None where no call
    had a known cost.
    """

    model: str | None = None
    tenant: str | None = None  # '-' for calls without one
    day: date | None = None  # in UTC
    calls: int = 0
    errors: int = 0  # of the calls; cancelled ones among them
    input_tokens: int = 0
    cached_input_tokens: int = 0  # part of the input
    cache_write_tokens: int = 0  # part of the input
    output_tokens: int = 0
    reasoning_tokens: int = 0  # part of the output
    usd: float | None = None
    unknown_calls: int = 0  # those that go on now, and those whose worker was killed, among them
    unpriced_calls: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Both together, under this one's names."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in COUNTS}
        known = [usd for usd in (self.usd, other.usd) if usd is not None]
        return Cost(self.model, self.tenant, self.day, **sums, usd=sum(known) if known else None)


# The last part of a field of Keys.cost → what it adds to
WHATS = {
    "calls": "calls",
    "errors": "errors",
    "input": "input_tokens",
    "cached": "cached_input_tokens",
    "written": "cache_write_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
    "unknown": "unknown_calls",
    "unpriced": "unpriced_calls",
}
COUNTS = tuple(field.name for field in fields(Cost) if field.type == "int")


async def costs(
    redis: Redis, keys: Keys, since: date | None, until: date | None, by: Sequence[By]
) -> list[Cost]:
    """See Queue.costs."""
    groups = _checked(by)
    totals: dict[tuple[Any, ...], Cost] = {}
    with reachable():
        for day in _days(since, until):
            async for field, value in _totals(redis, keys.cost(day.isoformat())):
                if (read := _read(field, value)) is None:
                    continue
                model, tenant, what, number = read
                whole: dict[Any, Any] = {"model": model, "tenant": tenant, "day": day}
                told = {name: whole[name] for name in groups}
                total = totals.setdefault(tuple(told.values()), Cost(**told))
                _add(total, what, number)
    order = sorted(totals, key=lambda key: tuple(map(str, key)))
    return [totals[key] for key in order if totals[key].calls]  # not one that was never sent after all


def _read(field: bytes, value: bytes) -> tuple[str, str, str, float] | None:
    """Model, tenant, what, and the number; None for what is no total of ours, or cannot be one."""
    try:
        model, tenant, what = field.decode().rsplit("|", 2)
        number = float(value) if what == "usd" else int(value)
    except ValueError:
        return None
    return (model, tenant, what, number) if abs(number) <= MOST else None


def _add(total: Cost, what: str, number: float) -> None:
    if what == "usd":
        total.usd = (total.usd or 0.0) + number
    elif name := WHATS.get(what):  # another version may count more
        setattr(total, name, getattr(total, name) + int(number))


async def _totals(redis: Redis, key: str) -> AsyncIterator[tuple[bytes, bytes]]:
    """Of a day. What is no hash has none: the next writing sets it aside."""
    with nothing_if_strange():
        async for field, value in redis.hscan_iter(key, count=_SCAN):
            yield field, value


def _days(since: date | None, until: date | None) -> Iterable[date]:
    last = _day(until) or datetime.now(UTC).date()
    first = _day(since) or last
    if first > last:
        raise InvalidRequest(f"There is no day from {first} until {last}: `since` is the earlier one.")
    first = max(first, last - timedelta(days=KEPT_DAYS))
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


def _day(given: date | None) -> date | None:
    if isinstance(given, datetime):
        return given.astimezone(UTC).date() if given.tzinfo else given.date()
    return given


def _checked(by: Sequence[By]) -> list[By]:
    names: Sequence[Any] = [by] if isinstance(by, str) else by
    for name in names:
        if name not in _GROUPS:
            raise InvalidRequest(f"Costs are told by {', '.join(_GROUPS)}, not by {name!r}.")
    return list(dict.fromkeys(names))
