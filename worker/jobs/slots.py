"""Slots for calls that a job makes: a Redis that is away is waited for, as all that the job has paid for would be
paid again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

from client import Limits
from client.errors import QueueUnavailable
from client.limits.slots import Slot, SlotBlock
from worker.unreachable import LAST_RETRY_S, UNREACHABLE


class PatientLimits(Limits):
    """The limits of the fleet, for jobs: entering a slot outlasts an outage, beyond `wait_s` where it must."""

    def slot(self, key: str, /, *more: str, **options: Any) -> SlotBlock:
        """See Limits.slot. Entering raises QueueUnavailable only where Redis refuses us, or this is closed."""
        inner = super().slot
        return _PatientBlock(lambda: inner(key, *more, **options))


class _PatientBlock(SlotBlock):
    """One block after the other, each with a ticket of its own, until one is entered."""

    def __init__(self, another: Callable[[], SlotBlock]) -> None:
        self._another, self._block = another, another()

    async def __aenter__(self) -> Slot:
        while True:
            try:
                return await self._block.__aenter__()
            except QueueUnavailable as error:
                if not isinstance(error.__cause__, UNREACHABLE):
                    raise
            await asyncio.sleep(LAST_RETRY_S)
            self._block = self._another()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._block.__aexit__(kind, error, trace)
