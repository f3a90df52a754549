"""When the listener looks at waiters that nothing told of, and at which."""

from __future__ import annotations

from collections.abc import Collection

EVERY_S = 2.0
JOBS = 1_000  # at most so many waiters a sweep, in turn


class Sweep:
    """The safety net for lost signals: all waiters in turn, however many other signals come."""

    def __init__(self) -> None:
        self.due_at_s = 0.0  # on the loop's clock
        self._rest: list[str] = []

    def turn(self, now_s: float, waiters: Collection[str]) -> list[str]:
        """The ids to look at now; none where it is too early."""
        if not waiters or now_s < self.due_at_s:
            return []
        self.due_at_s = now_s + EVERY_S
        rest = self._rest or list(waiters)
        turn, self._rest = rest[:JOBS], rest[JOBS:]
        return [id_ for id_ in turn if id_ in waiters]
