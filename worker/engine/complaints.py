"""What a worker says of records that are not what they should be: each trouble once in a while, and never for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic

from redis import exceptions as redis_errors

from client import words
from worker.unreachable import UNREACHABLE

AGAIN_S = 600.0  # between two tellings of one trouble
MAX_KNOWN = 100  # troubles that are remembered

logger = words.logger("arq.worker")

# What no record can be the cause of
ENDING = (*UNREACHABLE, redis_errors.AuthenticationError, redis_errors.NoPermissionError)


class Complaints:
    """Troubles that were told, and when."""

    def __init__(self) -> None:
        self._told_s: dict[str, float] = {}

    async def outlive(self, step: Callable[[], Awaitable[float | None]], otherwise_s: float) -> float | None:
        """What a step of the worker's loop returns. No record ends the worker: what fails is told, and it goes on."""
        try:
            return await step()
        except ENDING:
            raise
        except Exception as error:
            self.take(step.__name__.strip("_").replace("_", " "), error)
            return otherwise_s

    def take(self, doing: str, error: Exception) -> None:
        """Tells of an error, with its trace, unless one like it was told of late."""
        like, now_s = f"{doing}: {type(error).__name__}", monotonic()
        if now_s < self._told_s.get(like, now_s - AGAIN_S) + AGAIN_S:
            return
        if len(self._told_s) >= MAX_KNOWN:
            self._told_s.clear()
        self._told_s[like] = now_s
        logger.error(
            "%s failed, and is tried again for as long as it takes; it is told every %g s: see 'Records that cannot be "
            "read' in docs/operations.md",
            *(doing, AGAIN_S),
            exc_info=error,
        )
