"""One physical call with its ledger, its meter and its retry policy: what every LLM job is made of."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, Generic, TypeVar

from arq import Retry
from pydantic import BaseModel, ValidationError

from client.errors import BadRequest, JobError, ProviderError, ProviderNotConfigured
from client.wire.schemas import Attempt, ChatRequest, EmbedRequest, Timings, Usage
from promptmill.dialects import ChatAnswer, Delta, EmbedAnswer, Route, summarise
from promptmill.dialects.stream import newer
from worker.calls import cost_usd
from worker.engine.meter import Meter
from worker.engine.run import Throttled
from worker.jobs.retries import NextModel, decide, uses_a_try

from . import ledger, metering, reroute

_Answer = TypeVar("_Answer", ChatAnswer, EmbedAnswer)
_Request = TypeVar("_Request", bound=BaseModel)

logger = logging.getLogger("promptmill.jobs")


@dataclass(frozen=True, slots=True)
class Answered(Generic[_Answer]):
    """The answer of the attempt that succeeded, and how the job came to it."""

    answer: _Answer
    job_id: str
    route: Route
    cost_usd: float | None
    timings: Timings
    attempts: list[Attempt]

    def fields(self) -> dict[str, Any]:
        """What all results have in common."""
        return {
            "job_id": self.job_id,
            "model": f"{self.route.provider.name}/{self.answer.model}",  # the provider's name for it
            "usage": self.answer.usage,
            "cost_usd": self.cost_usd,
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


@dataclass(frozen=True, slots=True)
class Start:
    """What is known before the first call of a run."""

    route: Route
    admitted: bool  # under the limits of its model
    earlier: list[Attempt]  # of the runs before

    @property
    def next_number(self) -> int:
        return self.earlier[-1].number + 1 if self.earlier else 1


@dataclass(frozen=True, slots=True)
class Made(Generic[_Answer]):
    """A physical call that was answered."""

    answer: _Answer
    attempt: Attempt


class Failed(Exception):
    """A physical call that was not."""

    def __init__(self, error: JobError, attempt: Attempt) -> None:
        super().__init__(error)
        self.error = error
        self.attempt = attempt


@dataclass(slots=True)
class CallProgress:
    """`ctx["told"]`: what a call tells of itself while it goes on, for the ledger, however it ends."""

    began: float = field(default_factory=time.monotonic)
    usage: Usage | None = None
    ttft_s: float | None = None

    def hear(self, delta: Delta) -> None:
        """Takes down what a part of a streamed answer tells."""
        if self.ttft_s is None and (delta.text or delta.reasoning or delta.tool_calls):
            self.ttft_s = time.monotonic() - self.began
        if delta.usage is not None:
            self.usage = newer(self.usage, delta.usage) if self.usage else delta.usage


def overheard(ctx: dict[str, Any], tell: Callable[[Delta], None]) -> Callable[[Delta], None]:
    """`tell`, with the ledger listening: a stream that breaks off has cost what it had told."""

    def hear(delta: Delta) -> None:
        ctx["told"].hear(delta)
        tell(delta)

    return hear


async def run(
    ctx: dict[str, Any],
    asked: ChatRequest | EmbedRequest,
    route_to: Callable[[str | None], Route],
    call: Callable[[str], Awaitable[_Answer]],
) -> Answered[_Answer]:
    """Makes one physical call, `call(call_id)`, and decides what follows.

    Raises Moved if the job belongs into another lane, its model's or that of the next fallback, arq.Retry
    if it is to run again, and otherwise the error of its last attempt, with `details["attempts"]`, the
    number of physical calls. `ctx["meter"]` tells what was used, however the run ends. Cancelling it
    cancels the call and leaves the ledger of earlier attempts as it is.
    """
    start: Start = await begin(ctx, asked, route_to)
    try:
        made = await make(ctx, start.route, start.next_number, call, ctx["meter"])
    except Failed as failed:
        raise await follow(ctx, asked, failed, start, [failed.attempt]) from None
    attempt = made.attempt
    return Answered(
        made.answer,
        ctx["job_id"],
        start.route,
        attempt.cost_usd,
        timings(ctx, attempt.started_at, attempt.duration_s),
        [*start.earlier, attempt],
    )


async def begin(
    ctx: dict[str, Any], asked: ChatRequest | EmbedRequest, route_to: Callable[[str | None], Route]
) -> Start:
    """Where the run's calls go. Raises Moved, or what ends a run that has no provider to call."""
    try:
        route = route_to(asked.model)
    except ProviderNotConfigured as error:
        raise await _unroutable(ctx, asked, error) from None
    admitted = reroute.is_admitted(ctx, route)
    if not admitted and (away := reroute.to_its_model(ctx, asked)):
        raise away
    return Start(route, admitted, await ledger.read(ctx, str(route)))


async def make(
    ctx: dict[str, Any],
    route: Route,
    number: int,
    call: Callable[[str], Awaitable[_Answer]],
    meter: Meter,
    part: int | None = None,
) -> Made[_Answer]:
    """One physical call, in the totals and on the meter however it ends. Raises Failed."""
    started_at, told = datetime.now(UTC), CallProgress()
    ctx["told"] = told
    meter.called = True  # what is not known afterwards, when it is cancelled for one, counts as used

    def ended(answer: _Answer | None, error: BaseException | None = None) -> Attempt:
        usage = answer.usage if answer else told.usage
        cost = _cost_usd(ctx, route, answer.model if answer else route.model, usage)
        if error is not None and metering.was_free(meter, error):
            cost = 0.0
        attempt = Attempt(
            number=number,
            model=str(route),
            started_at=started_at,
            duration_s=time.monotonic() - told.began,
            error=type(error).__name__ if error else None,
            status=error.status if isinstance(error, ProviderError) else None,
            usage=usage if usage != Usage() else None,
            cost_usd=cost,
            ttft_s=told.ttft_s,
            part=part,
        )
        ledger.count(ctx, attempt)
        return attempt

    try:
        answer = await call(f"{ctx['job_id']}:{number}")
    except JobError as error:
        metering.failed(meter, error)
        raise Failed(error, ended(None, error)) from None
    except BaseException as error:  # cancelled: the provider may well send its bill
        ended(None, error)
        raise
    attempt = ended(answer)
    metering.answered(meter, answer.usage, attempt.cost_usd)
    return Made(answer, attempt)


def timings(ctx: dict[str, Any], started_at: datetime, running_s: float) -> Timings:
    enqueued_at = ctx["enqueue_time"]
    return Timings(
        enqueued_at=enqueued_at,
        queued_s=max(0.0, (started_at - enqueued_at).total_seconds()),  # two clocks may disagree
        running_s=running_s,
    )


def _cost_usd(ctx: dict[str, Any], route: Route, model: str, usage: Usage | None) -> float | None:
    if usage is None:
        return None
    return cost_usd(route.provider.name, model, usage, asked=route.model, own=ctx["llm"].own_prices)


async def _unroutable(
    ctx: dict[str, Any], asked: ChatRequest | EmbedRequest, error: ProviderNotConfigured
) -> Exception:
    """What ends a run that has no provider to call: the next model, or the error itself."""
    if asked.fallbacks:
        logger.warning("%s goes on to %s: %s", ctx["job_id"], asked.fallbacks[0], error)
        return reroute.to_fallback(ctx, asked)
    if earlier := await ledger.read(ctx, asked.model or ""):
        error.details["attempts"] = earlier[-1].number
    return error


async def follow(
    ctx: dict[str, Any],
    asked: ChatRequest | EmbedRequest,
    failed: Failed,
    start: Start,
    attempts: Sequence[Attempt],
) -> Exception:
    """The exception that ends this run, its `attempts` written down: Moved, Retry, or the error itself.

    The part that failed has its tries to itself.
    """
    error, last = failed.error, failed.attempt
    of_this_model = takewhile(lambda past: past.model == last.model, reversed(start.earlier))
    alike = [past for past in of_this_model if past.part == last.part]
    follows = decide(
        error,
        tries_used=sum(uses_a_try(past.error) for past in alike),
        max_tries=ctx["llm"].settings.max_tries,
        attempts=len(alike) + 1,
        roll=random.random(),  # noqa: S311  jitter, not a secret
        admitted=start.admitted,
        fallbacks=len(asked.fallbacks),
    )
    if follows or error.retryable:  # without a try left it is a dead letter, which takes its history along
        await ledger.append(ctx, attempts, is_first=not start.earlier)
    if isinstance(follows, NextModel):
        return reroute.to_fallback(ctx, asked)
    if follows:
        in_its_place = start.admitted and not follows.uses_a_try
        again = (Retry if follows.uses_a_try else Throttled)(None if in_its_place else follows.delay_s)
        again.add_note(str(error))  # for the log
        return again
    error.details["attempts"] = attempts[-1].number
    return error
