"""One physical call with its ledger and its retry policy: what every LLM job is made of."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from arq import Retry
from pydantic import BaseModel, ValidationError

from client.errors import BadRequest, JobError, ProviderError
from client.schemas import Attempt, Timings, Usage
from worker.engine.run import TurnedAway
from worker.llm import Route, cost_usd, decide, summarise, uses_a_try

from . import ledger

_Answer = TypeVar("_Answer")
_Request = TypeVar("_Request", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_Answer]):
    """The answer of the attempt that succeeded, and how the job came to it."""

    answer: _Answer
    job_id: str
    route: Route
    timings: Timings
    attempts: list[Attempt]

    def fields(self, model: str, usage: Usage) -> dict[str, Any]:
        """What all results have in common; `model` is the provider's name for the one that answered."""
        provider = self.route.provider.name
        cost = cost_usd(provider, model, usage)
        return {
            "job_id": self.job_id,
            "model": f"{provider}/{model}",
            "usage": usage,
            "cost_usd": cost if cost is not None else cost_usd(provider, self.route.model, usage),
            "timings": self.timings,
            "attempts": self.attempts,
        }


def read_request(kind: type[_Request], data: Any) -> _Request:
    """The job's argument as the request it should be. Raises BadRequest, without quoting the prompt."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        reason = summarise(error)
    raise BadRequest(f"The {kind.__name__} cannot be used: {reason}.")


async def run(
    ctx: dict[str, Any], route: Route, call: Callable[[str], Awaitable[_Answer]]
) -> Outcome[_Answer]:
    """Makes one physical call, `call(call_id)`, and decides what follows.

    Raises arq.Retry if the job is to run again, and otherwise the error of its last attempt, with
    `details["attempts"]`, the number of physical calls. Cancelling it cancels the call and leaves the
    ledger of earlier attempts as it is.
    """
    earlier = await ledger.read(ctx)
    number = earlier[-1].number + 1 if earlier else 1
    started_at, started = datetime.now(UTC), time.monotonic()
    try:
        answer = await call(f"{ctx['job_id']}:{number}")
    except JobError as error:
        attempt = _attempt(number, route, started_at, started, error)
        raise await _follow(ctx, error, earlier, attempt) from None
    attempt = _attempt(number, route, started_at, started)
    enqueued_at = ctx["enqueue_time"]
    timings = Timings(
        enqueued_at=enqueued_at,
        queued_s=max(0.0, (started_at - enqueued_at).total_seconds()),  # two clocks may disagree
        running_s=attempt.duration_s,
    )
    return Outcome(answer, ctx["job_id"], route, timings, [*earlier, attempt])


async def _follow(
    ctx: dict[str, Any], error: JobError, earlier: list[Attempt], attempt: Attempt
) -> Exception:
    """The exception that ends this run: Retry, with the attempt written down, or the error itself."""
    again = decide(
        error,
        tries_used=sum(uses_a_try(past.error) for past in earlier),
        max_tries=ctx["llm"].settings.max_tries,
        attempts=attempt.number,
        roll=random.random(),  # noqa: S311  jitter, not a secret
    )
    if again:
        await ledger.append(ctx, attempt, is_first=not earlier)
        return Retry(again.delay_s) if again.uses_a_try else TurnedAway(again.delay_s)
    if error.retryable:  # it becomes a dead letter, which takes its history along
        await ledger.append(ctx, attempt, is_first=not earlier)
    error.details["attempts"] = attempt.number
    return error


def _attempt(
    number: int, route: Route, started_at: datetime, started: float, error: JobError | None = None
) -> Attempt:
    return Attempt(
        number=number,
        model=str(route),
        started_at=started_at,
        duration_s=time.monotonic() - started,
        error=type(error).__name__ if error else None,
        status=error.status if isinstance(error, ProviderError) else None,
    )
