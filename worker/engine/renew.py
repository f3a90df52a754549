"""Leases are renewed from a thread of their own, so that a busy event loop loses none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from client import words
from client.redis.connection import connect, keys_at
from client.redis.url import ServerAddress
from worker.unreachable import UNREACHABLE

from .complaints import Complaints
from .scripts import EngineScripts, Lease

GRACE_S = 1.0  # after it stood still, for others that did, too, to renew before anything is claimed
BATCH = 500  # leases a script: about a millisecond of the server's time
PER_LEASE = 3  # renewals in a lease: two may be lost

logger = words.logger("arq.worker")


@dataclass
class Lost:
    """Leases that could not be renewed."""

    taken: list[Lease] = field(default_factory=list)  # another worker has the job, or it has ended
    unknown: list[Lease] = field(default_factory=list)  # Redis does not know the job any more
    slotless: list[Lease] = field(default_factory=list)  # the job is still ours, its slots are not


class Renewer:
    """Renews everything in `held`, every third of a lease, over one connection of its own.

    `lost` is called on the event loop that made the Renewer.
    """

    def __init__(
        self, address: ServerAddress, held: dict[str, Lease], lost: Callable[[Lost], None], *, lease_s: float
    ) -> None:
        self._held = held
        self._lost = lost
        self._lease_s = lease_s
        self._home = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="promptmill renewer", daemon=True)
        self._redis = connect(address, max_connections=1, retries=0)
        self._scripts = EngineScripts(self._redis, keys_at(self._redis))
        self._main: asyncio.Task[None] | None = None
        self._awake_at_s = time.time()  # by the clock that goes on while a machine sleeps

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Renews no more. The leases then lapse, unless their jobs have been finished or handed back."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._cancel)
            await asyncio.to_thread(self._thread.join)
        elif not self._loop.is_closed():  # never started
            self._loop.close()

    async def renew_now(self) -> None:
        """Renews all leases, now. Raises what redis-py raises."""
        future = asyncio.run_coroutine_threadsafe(self._renew(), self._loop)
        await asyncio.wrap_future(future)

    async def catch_up(self) -> None:
        """Before each claim. Where this worker has stood still for so long that leases may have ended, it renews its
        own first: these jobs still run here. Raises what redis-py raises."""
        before_s, self._awake_at_s = self._awake_at_s, time.time()
        if self._awake_at_s - before_s > self._lease_s * (1 - 1 / PER_LEASE):
            await self.renew_now()
            await asyncio.sleep(min(GRACE_S, self._lease_s / PER_LEASE))

    def _cancel(self) -> None:
        if self._main is not None:
            self._main.cancel()

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._main = self._loop.create_task(self._every_third())
        try:
            self._loop.run_until_complete(self._main)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.run_until_complete(self._close())
            self._loop.close()

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}  # a renew_now that is still waiting
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._redis.aclose()

    async def _every_third(self) -> None:
        complaints, is_told = Complaints(), False
        while True:
            await asyncio.sleep(self._lease_s / PER_LEASE)
            try:
                await self._renew()
                is_told = False
            except UNREACHABLE as error:
                if not is_told:  # once in an outage
                    logger.warning("the leases could not be renewed: %s", error)
                is_told = True
            except Exception as error:
                complaints.take("the renewal of leases", error)

    async def _renew(self) -> None:
        leases = list(self._held.values())
        lost = Lost()
        for at in range(0, len(leases), BATCH):
            batch = leases[at : at + BATCH]
            replies = await self._scripts.renew(batch, round(self._lease_s * 1000))
            for lease, reply in zip(batch, replies, strict=True):
                if reply != 1 and self._held.get(lease.job_id) is lease:  # not finished in the meantime
                    {0: lost.taken, -1: lost.unknown, 2: lost.slotless}[reply].append(lease)
        if lost.taken or lost.unknown or lost.slotless:
            self._home.call_soon_threadsafe(self._lost, lost)
