"""The wish to stop, from a signal handler to whoever should hear of it."""

from __future__ import annotations

from collections.abc import Callable


class StopSignal:
    """Asked for once, it stays asked for. Belongs to one event loop."""

    def __init__(self) -> None:
        self.is_requested = False
        self._listeners: list[Callable[[], object]] = []

    def request(self) -> None:
        """Asks the run to send nothing more, to write what has arrived, and to end."""
        self.is_requested = True
        for listener in self._listeners:
            listener()

    def listen(self, listener: Callable[[], object]) -> None:
        """`listener` is called at each request."""
        self._listeners.append(listener)
