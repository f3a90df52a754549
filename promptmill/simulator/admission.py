"""Which calls are let in: a cap on calls at once, and caps a minute on requests and tokens."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from .config import SimulatorConfig

CONCURRENCY_RETRY_S = 1.0  # what a call over the concurrency cap is told to wait


class RateLimit(StrEnum):
    CONCURRENCY = "concurrency"
    REQUESTS = "requests"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a call was not let in. `retry_after_s` is None where waiting cannot help."""

    limit: RateLimit
    cap: int
    used: int
    requested: int
    retry_after_s: float | None


UNEXPLAINED = Rejection(RateLimit.REQUESTS, cap=1, used=1, requested=1, retry_after_s=1.0)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a cap a minute, and the seconds until all of it is back."""

    cap: int
    remaining: int
    reset_s: float


class Bucket:
    """A token bucket: starts full with `cap`, refills evenly, `cap` a minute."""

    def __init__(self, cap: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.cap = cap
        self._clock = clock
        self._level = float(cap)
        self._refilled_at_s = clock()

    def wait_s(self, amount: int) -> float:
        """Seconds until `amount` is there; 0 when it is now. Takes nothing."""
        self._refill()
        # A hair of tolerance: a level of 0.9999999 after exactly the announced wait is 1.
        return max(0.0, amount - 1e-6 - self._level) * 60 / self.cap

    def take(self, amount: int) -> None:
        self._refill()
        self._level -= amount

    def allowance(self) -> Allowance:
        self._refill()
        missing = self.cap - self._level
        return Allowance(self.cap, max(0, int(self._level + 1e-6)), missing * 60 / self.cap)

    def _refill(self) -> None:
        now_s = self._clock()
        grown = self._level + (now_s - self._refilled_at_s) * self.cap / 60
        self._level = min(float(self.cap), grown)
        self._refilled_at_s = now_s


class Admission:
    """The caps of one configuration. A changed cap starts afresh, full; the others go on."""

    def __init__(self, config: SimulatorConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._max_concurrency: int | None = None
        self._buckets: dict[RateLimit, Bucket] = {}
        self.configure(config)

    def configure(self, config: SimulatorConfig) -> None:
        self._max_concurrency = config.max_concurrency
        for limit, cap in ((RateLimit.REQUESTS, config.rpm), (RateLimit.TOKENS, config.tpm)):
            if cap is None:
                self._buckets.pop(limit, None)
            elif limit not in self._buckets or self._buckets[limit].cap != cap:
                self._buckets[limit] = Bucket(cap, self._clock)

    def admit(self, *, tokens: int, open_calls: int) -> Rejection | None:
        """Let a call of `tokens` in, taking from every cap, or take nothing and say why."""
        cap = self._max_concurrency
        if cap is not None and open_calls >= cap:
            return Rejection(RateLimit.CONCURRENCY, cap, open_calls, 1, CONCURRENCY_RETRY_S)
        amounts = {RateLimit.REQUESTS: 1, RateLimit.TOKENS: tokens}
        for limit, bucket in self._buckets.items():
            wait_s = bucket.wait_s(amounts[limit])
            if wait_s > 0:
                used = bucket.cap - bucket.allowance().remaining
                possible = amounts[limit] <= bucket.cap
                return Rejection(limit, bucket.cap, used, amounts[limit], wait_s if possible else None)
        for limit, bucket in self._buckets.items():
            bucket.take(amounts[limit])
        return None

    def allowances(self) -> dict[RateLimit, Allowance]:
        """What is left now of each configured cap a minute."""
        return {limit: bucket.allowance() for limit, bucket in self._buckets.items()}
