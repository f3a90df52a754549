"""The slots that calls of this process hold: renewed by one task, and given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .. import words
from ..errors import QueueUnavailable
from ..redis.connection import reachable
from .batches import BATCH, Batches
from .calls import CallScripts, Grant, Release, Ticket

PER_LEASE = 3  # renewals in a lease: two may be lost
LOOK_S = 1.0  # between looks at whether Redis has lost its data: one GET
KEEP_RELEASES_S = 60.0  # that could not be sent; their slots have lapsed by then
NOTHING = Grant(0, 0.0, 0)

logger = words.logger("promptmill")


@dataclass(slots=True, eq=False)
class Hold:
    """A call that has its slots, or is about to."""

    ticket: Ticket
    grant: Grant = NOTHING
    lose: Callable[[], None] | None = None  # called once, when they are no longer its own
    is_lost: bool = False


class Holds:
    """All calls of this process that have slots. Belongs to one event loop."""

    def __init__(self, scripts: CallScripts) -> None:
        self.epoch = ""  # as Redis told last
        self._scripts = scripts
        self._held: dict[str, Hold] = {}
        self._releases = Batches(self._send)
        self._unsent: list[tuple[float, Release]] = []
        self._task: asyncio.Task[None] | None = None
        self._renewed_at_s = 0.0
        self._closed = False

    def __contains__(self, ticket_id: str) -> bool:
        return ticket_id in self._held

    def add(self, hold: Hold) -> None:
        """From now on its slots are renewed."""
        if not self._held:
            self._renewed_at_s = asyncio.get_running_loop().time()
        self._held[hold.ticket.id] = hold
        self._keep()

    async def release(self, hold: Hold, use: str) -> None:
        """Gives its slots back. Cancelled, or with Redis away, it goes on in the background."""
        if self._held.pop(hold.ticket.id, None) is None or self._closed:
            return
        sent = self.release_soon(Release(hold.ticket, hold.grant.since_ms, use))
        try:
            await asyncio.shield(sent)
        except QueueUnavailable as error:
            logger.warning("slots of %s could not be given back yet: %s", hold.ticket.keys[0], error)

    def release_soon(self, release: Release) -> asyncio.Future[None]:
        """Frees whatever the call may have, in the background."""
        sent = self._releases.put(release)
        sent.add_done_callback(lambda done: self._sent(release, done))
        return sent

    async def close(self) -> None:
        """Gives all slots back."""
        for hold in list(self._held.values()):
            self.release_soon(Release(hold.ticket, hold.grant.since_ms, ""))
        self._held.clear()
        self._closed = True
        await self._releases.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _sent(self, release: Release, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and isinstance(done.exception(), QueueUnavailable) and not self._closed:
            until_s = asyncio.get_running_loop().time() + KEEP_RELEASES_S
            self._unsent.append((until_s, release))
            self._keep()

    async def _send(self, releases: list[Release]) -> None:
        await self._scripts.release(releases)

    def _keep(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._every_third(), name="promptmill slots")

    async def _every_third(self) -> None:
        while self._held or self._unsent:
            third_s = min((hold.ticket.lease_s for hold in self._held.values()), default=LOOK_S) / PER_LEASE
            await asyncio.sleep(min(LOOK_S, third_s))
            now_s = asyncio.get_running_loop().time()
            try:
                with reachable():
                    if now_s - self._renewed_at_s >= third_s - LOOK_S / 2 or await self._data_is_new():
                        await self.renew()
                    await self._send_again(now_s)
            except QueueUnavailable as error:
                logger.warning("slots could not be renewed: %s", error)
            except Exception:
                logger.exception("slots could not be renewed")

    async def renew(self) -> None:
        """Renews all slots, and cancels the calls that have lost theirs."""
        holds = [hold for hold in self._held.values() if not hold.is_lost]
        self._renewed_at_s = asyncio.get_running_loop().time()
        for at in range(0, len(holds), BATCH):
            batch = holds[at : at + BATCH]
            kept = await self._scripts.hold([hold.ticket for hold in batch])
            for hold, is_kept in zip(batch, kept, strict=True):
                if not is_kept and hold.ticket.id in self._held:  # not given back in the meantime
                    hold.is_lost = True
                    if hold.lose is not None:
                        hold.lose()

    async def _data_is_new(self) -> bool:
        """Whether Redis has lost its data: then the slots are taken back before others have them."""
        known, now = self.epoch, await self._scripts.epoch()
        self.epoch = now or known
        return bool(known) and now != known

    async def _send_again(self, now_s: float) -> None:
        unsent, self._unsent = self._unsent, []
        for until_s, release in unsent:
            if now_s < until_s:
                self.release_soon(release)
