"""What the jobs of a worker share, and what one run of them reads."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from client import Limits
from client.redis.connection import keys_at
from client.wire.keys import Keys
from settings import Settings
from worker.calls import LLM, OwnPrices
from worker.context import Context, key
from worker.streams import Relay

from .learn import Learner
from .slots import PatientLimits
from .totals import Totals


@dataclass(frozen=True, slots=True)
class Services:
    """One of each for a worker. Belongs to one event loop."""

    redis: Redis
    keys: Keys
    learner: Learner
    totals: Totals
    relay: Relay
    llm: LLM
    limits: Limits

    @classmethod
    def open(cls, settings: Settings, redis: Redis, signals: Redis, own_prices: OwnPrices) -> Services:
        """Connects to nothing yet. `signals` is where calls that wait for a slot listen; the job's own is `redis`."""
        keys = keys_at(redis)
        learner = Learner(redis, own_prices)
        llm = LLM.open(settings, observe=learner.observe, own_prices=own_prices)
        relay, limits = Relay(redis, keys), PatientLimits(redis, signals)
        return cls(redis, keys, learner, Totals(redis), relay, llm, limits)

    async def close(self) -> None:
        """Writes what is left, then closes all connections. Idempotent."""
        for each in (self.relay, self.totals, self.llm, self.learner, self.limits):
            await each.close()


SERVICES = "promptmill.services"  # under which the worker's context has them: a name that no hook gives


class JobContext(Context):
    """A run of one of the worker's jobs."""

    services: Services = key(SERVICES)
