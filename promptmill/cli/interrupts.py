"""A command that is told to stop: by Ctrl-C, or by TERM or a closed terminal, which main.py makes the same.

Platforms, process groups and parents repeat a signal: one within SAME_SIGNAL_S of the first says nothing new.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TypeVar

SAME_SIGNAL_S = 1.0

T = TypeVar("T")


@contextmanager
def interrupted(
    first: Callable[[], object], again: Callable[[], object], *, same_s: float = SAME_SIGNAL_S
) -> Iterator[None]:
    """Calls `first` at the first signal in the block, and `again` at each that comes later, in the event loop."""
    loop = asyncio.get_running_loop()
    first_s: float | None = None

    def hear() -> None:
        nonlocal first_s
        if first_s is None:
            first_s = loop.time()
            first()
        elif loop.time() - first_s >= same_s:
            again()

    loop.add_signal_handler(signal.SIGINT, hear)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def run_command(main: Coroutine[object, object, T]) -> T:
    """`asyncio.run`, where each signal cancels `main`: the first lets it end in order, a later one at once. Raises
    KeyboardInterrupt then."""
    told = False

    async def run() -> T:
        task = asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            nonlocal told
            told = True
            task.cancel()

        if threading.current_thread() is not threading.main_thread():  # which has the signals
            return await main
        with interrupted(cancel, cancel):
            return await main

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if told:
            raise KeyboardInterrupt from None
        raise
