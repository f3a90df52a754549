"""One physical call: in the totals from its beginning, in the ledger and on the meter, however it ends."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from client.errors import ContentFiltered, JobError, MalformedResponse, Overloaded, ProviderError, RateLimited
from client.limits.rules.refusal import was_unreached
from client.wire.refusals import GAVE_UP_STATUSES
from client.wire.schemas import Attempt, Timings, Usage
from promptmill.dialects import Delta, Route
from promptmill.dialects.stream import newer
from worker.calls import cost_usd, never_connected
from worker.context import Meter

from . import ledger
from .services import JobContext


class Answer(Protocol):
    """What all answers tell."""

    @property
    def model(self) -> str: ...
    @property
    def usage(self) -> Usage: ...


_Answer = TypeVar("_Answer", bound=Answer)
_N = TypeVar("_N", int, float)


@dataclass(slots=True)
class CallProgress:
    """What a streamed answer tells while it goes on, for the ledger: one that breaks off has cost what it had told."""

    tell: Callable[[Delta], None] | None = None  # who else hears the deltas
    began_s: float = field(default_factory=time.monotonic)
    usage: Usage | None = None
    ttft_s: float | None = None

    def hear(self, delta: Delta) -> None:
        """Takes a delta down, and passes it on."""
        if self.ttft_s is None and (delta.text or delta.reasoning or delta.tool_calls):
            self.ttft_s = time.monotonic() - self.began_s
        if delta.usage is not None:
            self.usage = newer(self.usage, delta.usage) if self.usage else delta.usage
        if self.tell is not None:
            self.tell(delta)


class Call:
    """One physical call of a run: `await call.make(llm.chat(asked, call_id=call.id))`.

    `attempt` is its entry of the ledger, once it has ended.
    """

    attempt: Attempt

    def __init__(
        self, ctx: JobContext, route: Route, number: int, meter: Meter, part: int | None = None
    ) -> None:
        self._ctx, self._route, self._number, self._meter, self._part = ctx, route, number, meter, part
        self.id = f"{ctx.job_id}:{number}"

    async def make(self, calling: Awaitable[_Answer], progress: CallProgress | None = None) -> _Answer:
        """What the provider answers. Raises what `calling` raises; cancelling it cancels that."""
        self._progress, self._started_at = progress or CallProgress(), datetime.now(UTC)
        self._meter.called = True  # of one that is cancelled, nobody knows what it used
        self._counted = ledger.begin(self._ctx, self._route)
        try:
            answer = await calling
        except BaseException as error:  # cancelled, too: the provider may well send its bill
            if isinstance(error, JobError):
                meter_failure(self._meter, error, time.monotonic() - self._progress.began_s)
            elif not was_sent(error):
                self._meter.called = False
            self._take_down(self._progress.usage, self._route.model, error)
            raise
        self._take_down(answer.usage, answer.model)
        meter_answer(self._meter, answer.usage, self.attempt.cost_usd)
        return answer

    def _take_down(self, usage: Usage | None, model: str, error: BaseException | None = None) -> None:
        self.attempt = Attempt(
            number=self._number,
            model=str(self._route),
            started_at=self._started_at,
            duration_s=time.monotonic() - self._progress.began_s,
            error=type(error).__name__ if error else None,
            status=error.status if isinstance(error, ProviderError) else None,
            usage=usage if usage != Usage() else None,
            cost_usd=self._cost_usd(usage, model, error),
            ttft_s=self._progress.ttft_s,
            sent=was_sent(error),
            part=self._part,
        )
        was_made = error is None or self._meter.called or isinstance(error, ContentFiltered)
        self._ctx.services.totals.end(self._counted, self.attempt if was_made else None)
        ledger.tell(self._ctx, self.attempt)

    def _cost_usd(self, usage: Usage | None, model: str, error: BaseException | None) -> float | None:
        if error is not None and was_free(self._meter, error):
            return 0.0
        if usage is None:
            return None
        route, own_prices = self._route, self._ctx.services.llm.own_prices
        return cost_usd(route.provider.name, model, usage, asked=route.model, own=own_prices)


def was_sent(error: BaseException | None) -> bool:
    """Whether a request has gone out, as far as is known."""
    if isinstance(error, JobError):
        return error.details.get("sent") is not False
    return not never_connected(error)


def timings(ctx: JobContext, started_at: datetime, running_s: float) -> Timings:
    return Timings(
        enqueued_at=ctx.enqueue_time,
        queued_s=max(0.0, (started_at - ctx.enqueue_time).total_seconds()),  # two clocks may disagree
        running_s=running_s,
    )


def meter_answer(meter: Meter, usage: Usage, usd: float | None) -> None:
    """Takes an answer down. What the provider did not tell stays unknown."""
    meter.answered = True
    meter.usd = usd
    meter.output_tokens = usage.output_tokens
    if usage.input_tokens is not None and usage.output_tokens is not None:
        meter.tokens = usage.input_tokens + usage.output_tokens


def meter_failure(meter: Meter, error: JobError, took_s: float = 0.0) -> None:
    """Takes a failure down. After a timeout or a cut connection the reservation stands: who knows?"""
    status = error.status if isinstance(error, ProviderError) else None
    if isinstance(error, RateLimited | Overloaded):
        meter.refused, meter.refused_s = True, error.retry_after_s
        meter.overloaded = isinstance(error, Overloaded)
        meter.tokens, meter.usd = 0, 0.0
    elif status is not None and status >= 300 and status not in GAVE_UP_STATUSES:
        meter.answered = 400 <= status < 500
        meter.tokens, meter.usd = 0, 0.0
    elif not was_sent(error) or (status is None and not _may_have_answered(error)):
        meter.called = False  # no connection, or a request that could not be put into words
        meter.unreached_s = took_s if was_unreached(error) else None


def _may_have_answered(error: JobError) -> bool:
    return error.retryable or isinstance(error, MalformedResponse)


def was_free(meter: Meter, error: BaseException) -> bool:
    """Whether the call that ended in `error`, which `meter_failure` has taken down, is known to have cost nothing."""
    if isinstance(error, ContentFiltered):  # the model may have answered before the filter looked
        return False
    return meter.usd == 0 or not meter.called


def add_up(total: Meter, part: Meter, *, signals: bool) -> None:
    """Adds up the calls of a run. What one of them leaves unknown is unknown of all.

    `signals` is False for a call under another slot than the run's: what that slot signals of its model is not
    signalled again.
    """
    if signals and (part.answered or part.unreached_s is not None):
        total.unreached_s = part.unreached_s  # the last news counts
    if not part.called:
        return
    is_first, total.called = not total.called, True
    total.requests = part.requests + (0 if is_first else total.requests)
    total.tokens = _sum(0 if is_first else total.tokens, part.tokens)
    total.usd = _sum(0.0 if is_first else total.usd, part.usd)
    if signals:
        total.answered |= part.answered
        total.refused |= part.refused
        total.overloaded |= part.overloaded
        total.refused_s = max(filter(None, (total.refused_s, part.refused_s)), default=None)


def _sum(one: _N | None, other: _N | None) -> _N | None:
    return None if one is None or other is None else one + other
