"""When a run has no use: the account is empty, the key is revoked, the model is gone, or nobody is at its address. That
is no fault of the lines.

A line that is refused so is held back, and counts as failed once an answer, or a fault of a line, follows. After a
handful in a row the run stops; what is held back, or was taken back, counts as not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress

from client.errors import (
    AuthenticationFailed,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    JobAborted,
    JobError,
    ModelNotFound,
    PermissionRefused,
    ProviderNotConfigured,
    ProviderUnreachable,
    QueueUnavailable,
    QuotaExhausted,
    ResultTimeout,
)
from client.limits.rules.refusal import was_unreached

from .feed import LineJob
from .window import Waitable
from .writer import LineOutcome

HANDFUL = 5  # refusals in a row
TAKE_BACK_S = 10.0  # for what is queued and running to be taken back
ABORTS_AT_ONCE = 100

_OF_THE_ACCOUNT = (
    AuthenticationFailed,
    ModelNotFound,
    PermissionRefused,
    ProviderNotConfigured,
    QuotaExhausted,
)


_OF_A_LINE = (BadRequest, ContentFiltered, ContextTooLong)  # so its model does answer


class RefusedInARow(Exception):
    """Further lines would be refused as the last ones were; one sentence or two, with the next step."""


class Refusals:
    """Tells refusals of the account from those of a line. In a row means: of lines that were sent one after the other,
    as refusals are quick and overtake the answers that stand between them."""

    def __init__(self) -> None:
        self.reason: str | None = None  # why the run is to stop
        self._places: dict[str, int] = {}  # of lines whose end is not known, by their job
        self._sent = 0
        # By place, from the first line whose end is not known: refusals, and whether the others show life
        self._ends: dict[int, LineOutcome | bool] = {}
        self._first = 0  # its place
        self._row: list[LineOutcome] = []  # refusals just before it

    def sent(self, line_jobs: Iterable[LineJob]) -> None:
        """Before they are sent; those that are sent again keep their places."""
        for line_job in line_jobs:
            if self._places.setdefault(line_job.job_id, self._sent) == self._sent:
                self._sent += 1

    def sift(self, outcomes: list[LineOutcome]) -> list[LineOutcome]:
        """Those to be written; sets `reason` where there is a handful in a row."""
        passed: list[LineOutcome] = []
        for outcome in outcomes:
            place = self._places.pop(outcome.line_job.job_id)
            is_refusal = _is_of_all(outcome.result)
            if self.reason and (is_refusal or isinstance(outcome.result, JobAborted)):
                self._row.append(outcome)
                continue
            self._ends[place] = end = outcome if is_refusal else _shows_life(outcome.result)
            if not is_refusal:
                passed.append(outcome)
            if end is not True and self.reason is None and len(row := self._row_around(place)) >= HANDFUL:
                self.reason = str(row[0].result)
        return passed if self.reason else [*passed, *self._settled()]

    def _settled(self) -> Iterator[LineOutcome]:
        """Refusals that turn out to be those of single lines."""
        while (end := self._ends.pop(self._first, None)) is not None:
            self._first += 1
            if isinstance(end, LineOutcome):
                self._row.append(end)
            elif end:
                yield from self._row
                self._row = []

    def _row_around(self, place: int) -> list[LineOutcome]:
        """The refusals there, up to a handful, passing over ends that tell nothing of the account."""
        here = self._ends[place]
        row = [here] if isinstance(here, LineOutcome) else []
        for step in (-1, 1):
            at = place + step
            while len(row) < HANDFUL and (end := self._ends.get(at)) is not None and end is not True:
                row += [end] if isinstance(end, LineOutcome) else []
                at += step
            row += self._row if at < self._first else []
        return row

    def check(self) -> None:
        """Raises RefusedInARow where there has been a handful in a row."""
        if self.reason:
            raise RefusedInARow(f"Stopped, as every further line would be refused alike: {self.reason}")

    def release(self) -> list[LineOutcome]:
        """What is held back, to be held no longer."""
        held = [*self._row, *(end for end in self._ends.values() if isinstance(end, LineOutcome))]
        self._row, self._ends = [], {}
        return held


def _is_of_all(result: object) -> bool:
    """Whether any line would have ended so."""
    return isinstance(result, _OF_THE_ACCOUNT) or (
        isinstance(result, ProviderUnreachable) and was_unreached(result)
    )


def _shows_life(result: object) -> bool:
    """Whether its model has answered, be it that the line is at fault."""
    return isinstance(result, _OF_A_LINE) or not isinstance(result, JobError)


async def take_back(jobs: Iterable[Waitable]) -> None:
    """Aborts them, as many as can be within TAKE_BACK_S. Raises QueueUnavailable."""
    turns = asyncio.Semaphore(ABORTS_AT_ONCE)

    async def abort(job: Waitable) -> None:
        async with turns:
            with suppress(ResultTimeout, JobError):
                await job.abort(TAKE_BACK_S)

    with suppress(TimeoutError):
        async with asyncio.timeout(TAKE_BACK_S):
            try:
                async with asyncio.TaskGroup() as group:
                    for job in jobs:
                        group.create_task(abort(job))
            except* QueueUnavailable as outages:
                raise outages.exceptions[0] from None
