"""One physical call: in the ledger's totals and on the meter, however it ends."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from client.errors import JobError, ProviderError
from client.wire.schemas import Attempt, Timings, Usage
from promptmill.dialects import Delta, Route
from promptmill.dialects.stream import newer
from worker.calls import cost_usd
from worker.context import Meter

from . import ledger, metering
from .services import JobContext


class Answer(Protocol):
    """What all answers tell."""

    @property
    def model(self) -> str: ...
    @property
    def usage(self) -> Usage: ...


_Answer = TypeVar("_Answer", bound=Answer)


class CallProgress:
    """What a streamed answer tells while it goes on, for the ledger: one that breaks off has cost what it had told."""

    __slots__ = ("_tell", "began_s", "ttft_s", "usage")

    def __init__(self, tell: Callable[[Delta], None] | None = None) -> None:
        self._tell = tell  # who else hears the deltas
        self.began_s = time.monotonic()
        self.usage: Usage | None = None
        self.ttft_s: float | None = None

    def hear(self, delta: Delta) -> None:
        """Takes a delta down, and passes it on."""
        if self.ttft_s is None and (delta.text or delta.reasoning or delta.tool_calls):
            self.ttft_s = time.monotonic() - self.began_s
        if delta.usage is not None:
            self.usage = newer(self.usage, delta.usage) if self.usage else delta.usage
        if self._tell is not None:
            self._tell(delta)


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
        started_at, progress = datetime.now(UTC), progress or CallProgress()
        self._meter.called = (
            True  # what is not known afterwards, when it is cancelled for one, counts as used
        )
        try:
            answer = await calling
        except BaseException as error:  # cancelled, too: the provider may well send its bill
            if isinstance(error, JobError):
                metering.failed(self._meter, error)
            self._take_down(started_at, progress, progress.usage, self._route.model, error)
            raise
        self._take_down(started_at, progress, answer.usage, answer.model)
        metering.answered(self._meter, answer.usage, self.attempt.cost_usd)
        return answer

    def _take_down(
        self,
        started_at: datetime,
        progress: CallProgress,
        usage: Usage | None,
        model: str,
        error: BaseException | None = None,
    ) -> None:
        self.attempt = Attempt(
            number=self._number,
            model=str(self._route),
            started_at=started_at,
            duration_s=time.monotonic() - progress.began_s,
            error=type(error).__name__ if error else None,
            status=error.status if isinstance(error, ProviderError) else None,
            usage=usage if usage != Usage() else None,
            cost_usd=self._cost_usd(usage, model, error),
            ttft_s=progress.ttft_s,
            part=self._part,
        )
        ledger.count(self._ctx, self.attempt)

    def _cost_usd(self, usage: Usage | None, model: str, error: BaseException | None) -> float | None:
        if error is not None and metering.was_free(self._meter, error):
            return 0.0
        if usage is None:
            return None
        route, own_prices = self._route, self._ctx.services.llm.own_prices
        return cost_usd(route.provider.name, model, usage, asked=route.model, own=own_prices)


def timings(ctx: JobContext, started_at: datetime, running_s: float) -> Timings:
    return Timings(
        enqueued_at=ctx.enqueued_at,
        queued_s=max(0.0, (started_at - ctx.enqueued_at).total_seconds()),  # two clocks may disagree
        running_s=running_s,
    )
