"""The second pass over the input: what is still to be sent, a chunk at a time."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from .items import Invalid, Item
from .options import InputError
from .plan import Plan

SCAN_LINES = 1_000  # lines passed over in one go, so that answers are not kept waiting by a long resume
NAME_DIGITS = 24  # hex digits of a job's name within its run


class LineJob(NamedTuple):
    """A line on its way: its job's id, and in how many runs before it was asked for."""

    item: Item
    job_id: str
    retry_round: int


class Feed:
    """Gives out each pending item once, in the order of the input."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._items = plan.items.items()
        self.is_exhausted = False

    def take(self, most_items: int, most_bytes: int) -> list[LineJob]:
        """The next lines, of which the last may go over `most_bytes`; none where all lines looked at
        are finished. Sets `is_exhausted` at the end of the input. Raises InputError where it has changed.
        """
        line_jobs: list[LineJob] = []
        size_bytes = 0
        for _ in range(SCAN_LINES):
            if len(line_jobs) >= most_items or size_bytes >= most_bytes:
                break
            item = next(self._items, None)
            if item is None:
                self.is_exhausted = True
                break
            if isinstance(item, Invalid):
                self._pass_over(item)
            elif not self._plan.is_finished(item) and self._plan.fault(item) is None:
                line_jobs.append(self._line_job(item))
                size_bytes += item.size_bytes
        return line_jobs

    def _line_job(self, item: Item) -> LineJob:
        retry_round = self._plan.index.next_round(item.custom_id, item.hash)
        name = sha256(f"{item.custom_id}\0{item.hash}\0{retry_round}".encode()).hexdigest()[:NAME_DIGITS]
        return LineJob(item, f"run-{self._plan.sidecar.run_id}-{name}", retry_round)

    def _pass_over(self, item: Invalid) -> None:
        if not self._plan.options.skip_invalid:
            raise InputError(f"The input changed while it was read: line {item.line}: {item.reason}")
