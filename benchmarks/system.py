"""What a system must offer to be measured: the small protocol behind every file in `peers/`.

The job of every system is `work(number, seconds, text)`: begin in the tally, sleep `seconds` where there
are any, end in the tally, return the time of the start. `text` is ballast.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

URL_VARIABLE = "BENCH_URL"
CONCURRENCY_VARIABLE = "BENCH_CONCURRENCY"

JOB_LIMIT_S = 900  # for systems whose jobs have a short limit of their own
RESULT_LIMIT_S = 60  # how long a caller waits for a result
AT_ONCE = 100  # enqueue calls in flight where a system has no bulk call


@dataclass(frozen=True, slots=True)
class Work:
    """One job: its number in the tally, how long it sleeps, and ballast."""

    number: int
    seconds: float = 0.0
    text: str = ""

    @property
    def arguments(self) -> tuple[int, float, str]:
        return self.number, self.seconds, self.text


class Client(Protocol):
    """One process's open connection to the system."""

    async def enqueue(self, works: Sequence[Work]) -> None:
        """All of them, in the fastest way that its documentation shows."""

    async def enqueue_one(self, work: Work) -> None:
        """One of them, returning when it is in the queue."""

    async def call(self, work: Work) -> int:
        """Enqueues and waits for the result as its documentation shows; returns it: the start, Unix ns."""

    async def close(self) -> None: ...


@dataclass(frozen=True)
class System:
    """A system under test. `worker` makes what follows `python -m` from the concurrency and the URL."""

    name: str
    worker: Callable[[int, str], Sequence[str]]
    connect: Callable[[str], Awaitable[Client]]
    packages: tuple[str, ...] = ()
    environment: Callable[[int, str], dict[str, str]] = field(default=lambda _concurrency, _url: {})
    in_threads: bool = False  # a thread per job in flight: not asked for thousands


async def in_parallel(call: Callable[[Work], Awaitable[Any]], works: Iterable[Work]) -> None:
    """`call` on each, AT_ONCE at a time: the usual `asyncio.gather`, in bounded groups."""
    rest = iter(works)
    while group := list(islice(rest, AT_ONCE)):
        await asyncio.gather(*map(call, group))
