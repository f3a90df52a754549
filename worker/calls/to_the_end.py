"""What goes on to its end though it is cancelled: an answer that was paid for and has come is read."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


async def to_the_end(rest: Coroutine[Any, Any, _T]) -> _T:
    """What `rest` returns or raises. If the task is cancelled meanwhile, it hears of that at its next await instead, so
    it can put away what it has. For what takes a moment."""
    task, cancelled = asyncio.create_task(rest), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled and (current := asyncio.current_task()) is not None:
        current.uncancel()
        current.cancel()
    return task.result()
