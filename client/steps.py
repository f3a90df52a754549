"""Long work on an event loop, in steps: between them, others have their turn."""

from __future__ import annotations

import asyncio
from time import perf_counter

STEP_S = 0.005  # of work after which others are let in


class Steps:
    """Awaited often, it gives way only once a step has lasted STEP_S."""

    def __init__(self) -> None:
        self._began_s = perf_counter()

    async def give_way(self) -> None:
        """Returns at once, or after a turn of the loop."""
        if perf_counter() - self._began_s >= STEP_S:
            await asyncio.sleep(0)
            self._began_s = perf_counter()
