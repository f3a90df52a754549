"""What the worker learns of a model, for whoever admits calls to it: its rates and its price.

Best effort, in the background: nothing here delays an answer, and a Redis that is away costs a debug line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from client import words
from client.limits.rules.lanes import model_key
from client.redis.connection import keys_at
from client.redis.note import note
from promptmill.dialects import Route
from promptmill.dialects.rates import SeenRates
from worker.calls.price_file import OwnPrices
from worker.calls.prices import per_token_usd

REWRITE_S = 60.0  # how often what has not changed is written again: somebody may have deleted it
CHANGE_S = 5.0  # how often changes are written at most
TTL_S = 30 * 86_400  # of a limit key's hash
_ROUTES = 1_024  # models remembered; callers choose them, so there must be an end

logger = words.logger("promptmill.learn")


@dataclass(slots=True)
class _Known:
    """A model's rates, and what of it is in Redis since when."""

    rpm: int | None = None
    tpm: int | None = None
    written: tuple[int | None, int | None] | None = None
    written_at_s: float = float("-inf")  # by the clock of the process


class Learner:
    """Writes `mill:flow:{provider/model}` as answers come in. One per process."""

    def __init__(
        self, redis: Redis, own_prices: OwnPrices, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = redis
        self._keys = keys_at(redis)
        self._own_prices = own_prices
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._writes: set[asyncio.Task[None]] = set()

    def observe(self, route: Route, rates: SeenRates) -> None:
        """Takes note of an answer's rates. Returns at once; what was not told this time stays as it was."""
        known = self._of(str(route))
        known.rpm, known.tpm = rates.rpm or known.rpm, rates.tpm or known.tpm
        now_s, told = self._clock(), (known.rpm, known.tpm)
        if now_s - known.written_at_s < (REWRITE_S if told == known.written else CHANGE_S):
            return
        known.written, known.written_at_s = told, now_s
        task = asyncio.get_running_loop().create_task(self._write(route, known))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """Gives up what is still being written. Idempotent."""
        for task in self._writes:
            task.cancel()
        await asyncio.gather(*self._writes, return_exceptions=True)

    def _of(self, name: str) -> _Known:
        if name not in self._known and len(self._known) >= _ROUTES:
            del self._known[next(iter(self._known))]
        return self._known.setdefault(name, _Known())

    async def _write(self, route: Route, known: _Known) -> None:
        key = self._keys.flow(model_key(str(route)))
        try:
            price = per_token_usd(route.provider.name, route.model, own=self._own_prices)
            await note(self._redis, self._keys, key, TTL_S, fields(known.rpm, known.tpm, price))
        except (RedisError, OSError) as error:
            known.written = None  # so that it is written again in CHANGE_S, and not in REWRITE_S
            logger.debug("%s: what was learned cannot be written: %s", route, error)


def fields(rpm: int | None, tpm: int | None, price: tuple[float, float] | None) -> dict[str, str]:
    """The fields of the hash. `unpriced` is 1 where the price is unknown, and then both prices are 0."""
    in_usd, out_usd = price or (0.0, 0.0)
    rates = {"rpm_seen": rpm, "tpm_seen": tpm}
    return {
        **{name: str(rate) for name, rate in rates.items() if rate is not None},
        "in_usd": _decimal(in_usd),
        "out_usd": _decimal(out_usd),
        "unpriced": "1" if price is None else "0",
    }


def _decimal(usd: float) -> str:
    """0.0000025 and not 2.5e-06: to a millionth of a millionth of a dollar."""
    return f"{usd:.12f}".rstrip("0").rstrip(".")
