"""Retry or fail, and when: pure functions of numbers."""

from __future__ import annotations

from dataclasses import dataclass

from client.errors import JobError, Overloaded, ProviderError, RateLimited

BASE_S = 1.0  # seconds; the ceiling of the first wait
CAP_S = 60.0  # seconds; the ceiling of every wait

# By class name, as the ledger keeps it: the provider has no room now, the request is not at fault
_USES_NO_TRY = frozenset({RateLimited.__name__, Overloaded.__name__})


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after `delay_s` seconds."""

    delay_s: float
    uses_a_try: bool


def decide(error: JobError, *, tries_used: int, max_tries: int, attempts: int, roll: float) -> Again | None:
    """What follows the attempt that just ended in `error`; None means that the job has failed.

    `tries_used` are the tries used before this attempt, `attempts` all physical calls including it and
    `roll` a random number in [0, 1). RateLimited and Overloaded use no try and never fail the job: its
    deadline does. The provider's Retry-After is the least we wait; the jitter comes on top, so that a
    fleet that was turned away together does not return together.
    """
    if not error.retryable:
        return None
    costs = uses_a_try(type(error).__name__)
    if costs and tries_used + 1 >= max_tries:
        return None
    asked_s = (error.retry_after_s or 0.0) if isinstance(error, ProviderError) else 0.0
    return Again(asked_s + backoff_s(attempts, roll), costs)


def uses_a_try(error: str | None) -> bool:
    """Whether an attempt that ended in an error of that class name counts against MAX_TRIES."""
    return error is not None and error not in _USES_NO_TRY


def backoff_s(attempts: int, roll: float) -> float:
    """Full jitter: `roll * min(CAP_S, BASE_S * 2 ** (attempts - 1))` seconds, for `roll` in [0, 1).

    With the defaults, the waits after attempts 1 to 7 and later lie below 1, 2, 4, 8, 16, 32 and 60
    seconds; the four waits of five tries come to 7.5 s on average and 15 s at most.

    Source: Exponential Backoff And Jitter, AWS Architecture Blog, 2015 ("full jitter").
    """
    return roll * min(CAP_S, BASE_S * 2.0 ** min(attempts - 1, 16))
