"""How many runs begin in one round of the event loop. Knows no jobs.

A claim may bring hundreds of them. If all began in the same round, everything else (a token that came for a stream,
a renewal, the reply to a finish) would wait until the last had rendered its request and opened its connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

ROUND_S = 0.005  # a longer round lets fewer begin in the next, a shorter one more
LEAST, MOST = 4, 256  # runs a round


class Pace:
    """Turns, first come, first served. Belongs to the event loop in which it is first used."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._a_round = LEAST
        self._left = LEAST  # of this round
        self._began_s: float | None = None  # the round; None while nobody has had a turn in it
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Returns when the caller may begin: at once unless this round's turns are taken. Cancelling gives it up."""
        loop = asyncio.get_running_loop()
        if self._began_s is None:
            self._began_s = self._clock()
            loop.call_soon(self._next_round, loop)
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next_round(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = self._clock()
        assert self._began_s is not None
        if now_s - self._began_s > ROUND_S:
            self._a_round = max(LEAST, self._a_round // 2)
        elif self._waiting:
            self._a_round = min(MOST, self._a_round * 2)
        self._left = self._a_round
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        self._began_s = now_s if self._left < self._a_round else None
        if self._began_s is not None:
            loop.call_soon(self._next_round, loop)
