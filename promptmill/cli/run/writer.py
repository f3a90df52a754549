"""Answers and errors to their files; once they are on the disk, and not before, Redis may forget them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from client.errors import JobError, QueueUnavailable
from client.wire.schemas import Completion, Embeddings

from .feed import LineJob
from .index import Answered
from .output import Extent, LineFile, rewrite
from .plan import Plan
from .records import answer_line, error_line
from .tally import Tally


class LineOutcome(NamedTuple):
    """What has become of one line."""

    line_job: LineJob
    result: Completion | Embeddings | JobError


Forget = Callable[[Iterable[str]], Awaitable[None]]


class Writer:
    """The two files of a run. Killed at any point, at worst a result is fetched from Redis again."""

    def __init__(self, plan: Plan, tally: Tally, forget: Forget) -> None:
        """Opens and repairs the files. Raises InputError where they cannot be written."""
        self._plan = plan
        self._forget = forget
        self._tally = tally
        self._answers = LineFile(plan.options.output, plan.output_extent)
        self._errors: LineFile | None = None  # made when there is a first error
        if plan.options.errors_path.exists():
            try:
                self._errors = LineFile(plan.options.errors_path, plan.errors_extent)
            except BaseException:
                self._answers.close()
                raise
        self._written: list[str] = []  # ids of jobs whose results may be forgotten after the next sync

    @property
    def uncommitted(self) -> int:
        """Answers and errors written since the last commit."""
        return len(self._written)

    def write(self, outcomes: list[LineOutcome]) -> None:
        """Writes them, one write a file. Raises OutputError; those not written stay in Redis."""
        index, tally = self._plan.index, self._tally
        answers = [(o.line_job, o.result) for o in outcomes if not isinstance(o.result, JobError)]
        lines = [answer_line(line_job.item, answer, line_job.retry_round) for line_job, answer in answers]
        offset = self._answers.size_bytes
        self._answers.append(b"".join(lines))
        for (line_job, answer), line in zip(answers, lines, strict=True):
            tally.count(answer)
            shortfall = answer.shortfall if isinstance(answer, Completion) else None
            answered = Answered(line_job.retry_round, offset, shortfall)
            index.mark_done(line_job.item.custom_id, line_job.item.hash, answered)
            offset += len(line)
            self._written.append(line_job.job_id)
        errors = [(o.line_job, o.result) for o in outcomes if isinstance(o.result, JobError)]
        if errors:
            self._write_errors(errors)

    def sync(self) -> None:
        """Returns when everything written is on the disk. Raises OutputError. Blocks."""
        self._answers.sync()
        if self._errors:
            self._errors.sync()

    async def commit(self) -> None:
        """Syncs, says that the run is alive, and lets Redis forget. Raises OutputError.

        Where Redis is away, it is asked again at the next commit.
        """
        if not self._written:
            return
        await asyncio.to_thread(self.sync)
        self._plan.sidecar.touch()
        with suppress(QueueUnavailable):
            await self._forget(self._written)
            self._written = []

    def tidy(self) -> None:
        """Takes the errors that have since been answered or repeated out of the error file, and the answers that have
        been replaced out of the output, each at once or not at all. Raises OutputError."""
        index = self._plan.index
        if index.superseded_answers:
            self._answers.sync()
            rewrite(
                self._answers.path,
                lambda record, offset: index.is_current_answer(record["custom_id"], record["hash"], offset),
            )
            index.superseded_answers = 0
        if self._errors is None or not index.superseded_errors:
            return
        self._errors.sync()
        rewrite(
            self._errors.path,
            lambda record, offset: index.is_current_error(record["custom_id"], record["hash"], offset),
        )
        index.superseded_errors = 0

    def close(self) -> None:
        """Lets go of the files."""
        self._answers.close()
        if self._errors:
            self._errors.close()

    def _write_errors(self, errors: list[tuple[LineJob, JobError]]) -> None:
        if self._errors is None:
            self._errors = LineFile(self._plan.options.errors_path, Extent())
        offset = self._errors.size_bytes
        lines = [error_line(line_job.item, error, line_job.retry_round) for line_job, error in errors]
        self._errors.append(b"".join(lines))
        for (line_job, _), line in zip(errors, lines, strict=True):
            self._plan.index.mark_failed(
                line_job.item.custom_id, line_job.item.hash, line_job.retry_round, offset
            )
            offset += len(line)
            self._tally.failed += 1
            self._written.append(line_job.job_id)
