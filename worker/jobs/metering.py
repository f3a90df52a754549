"""What a call used, as its answer or its failure tells it, for the engine to settle the reservation by."""

from __future__ import annotations

from typing import TypeVar

from client.errors import ContentFiltered, JobError, Overloaded, ProviderError, RateLimited
from client.wire.refusals import GAVE_UP_STATUSES
from client.wire.schemas import Usage
from worker.context import Meter

_N = TypeVar("_N", int, float)


def answered(meter: Meter, usage: Usage, usd: float | None) -> None:
    """Takes an answer down. What the provider did not tell stays unknown."""
    meter.answered = True
    meter.usd = usd
    meter.output_tokens = usage.output_tokens
    if usage.input_tokens is not None and usage.output_tokens is not None:
        meter.tokens = usage.input_tokens + usage.output_tokens


def failed(meter: Meter, error: JobError) -> None:
    """Takes a failure down. After a timeout or a cut connection the reservation stands: who knows?"""
    status = error.status if isinstance(error, ProviderError) else None
    if isinstance(error, RateLimited | Overloaded):
        meter.refused, meter.refused_s = True, error.retry_after_s
        meter.overloaded = isinstance(error, Overloaded)
        meter.tokens, meter.usd = 0, 0.0
    elif status is not None and status >= 300 and status not in GAVE_UP_STATUSES:
        meter.answered = 400 <= status < 500
        meter.tokens, meter.usd = 0, 0.0
    elif error.details.get("sent") is False or (status is None and not error.retryable):
        meter.called = False  # no connection, or a request that could not be put into words


def was_free(meter: Meter, error: BaseException) -> bool:
    """Whether the call that ended in `error`, which `failed` has taken down, is known to have cost nothing."""
    if isinstance(error, ContentFiltered):  # the model may have answered before the filter looked
        return False
    return meter.usd == 0 or not meter.called


def add(total: Meter, part: Meter) -> None:
    """Adds up the calls of a run. What one of them leaves unknown is unknown of all."""
    if not part.called:
        return
    is_first, total.called = not total.called, True
    total.requests = part.requests + (0 if is_first else total.requests)
    total.tokens = _sum(0 if is_first else total.tokens, part.tokens)
    total.usd = _sum(0.0 if is_first else total.usd, part.usd)
    total.answered |= part.answered
    total.refused |= part.refused
    total.overloaded |= part.overloaded
    total.refused_s = max(filter(None, (total.refused_s, part.refused_s)), default=None)


def _sum(one: _N | None, other: _N | None) -> _N | None:
    return None if one is None or other is None else one + other
