"""A model that could not answer, in the ledger and in the error of the job that went on from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from client.errors import JobError
from client.wire.schemas import Attempt

from . import ledger
from .services import JobContext

MAX_REASON_CHARS = 500


def pass_over(ctx: JobContext, number: int, model: str, error: JobError) -> None:
    """Tells the runs after this one that `model` was not called."""
    attempt = Attempt(
        number=number,
        model=model,
        started_at=datetime.now(UTC),
        duration_s=0,
        error=type(error).__name__,
        sent=False,
    )
    ledger.tell(ctx, attempt)
    explain(ctx, attempt, error)


def explain(ctx: JobContext, last: Attempt, error: JobError) -> None:
    """Adds to the last attempt at a model what a person will want to know of it once another model was asked."""
    told = ctx.meter.attempts
    reason = error.message[:MAX_REASON_CHARS]
    told[told.index(last)] = last.model_copy(update={"reason": reason})


def concluded(error: JobError, attempts: Sequence[Attempt]) -> JobError:
    """The error that ends the job, after all its `attempts`. It tells what became of the models before, and of the
    first in its message: there the trouble began."""
    before = [attempt for attempt in attempts if attempt.reason]
    if attempts:
        error.details["attempts"] = attempts[-1].number
    if before and "before" not in error.details:
        error.message = f"{error.message} Before that: {before[0].reason}"
        error.args = (error.message,)
        error.details["before"] = [{"model": a.model, "error": a.error, "message": a.reason} for a in before]
    return error


def waiting_s(attempts: Sequence[Attempt], turned_away: Callable[[Attempt], bool]) -> float:
    """For how long the last of the attempts, without a break, have ended so: seconds."""
    first = time.time()
    for attempt in reversed(attempts):
        if not turned_away(attempt):
            break
        first = attempt.started_at.timestamp()
    return max(0.0, time.time() - first)
