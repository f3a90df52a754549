"""What a person sees while a run goes on: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TextIO

from client.words import counted, shown
from promptmill.cli.terminal import say_to

from .tally import Tally

PLAIN_EVERY_S = 5.0  # between two plain lines


def open_progress(stream: TextIO) -> PlainProgress:
    """The live one where `stream` is a terminal and rich is installed."""
    if not stream.isatty():
        return PlainProgress(stream)
    try:
        return LiveProgress(stream)
    except ImportError:
        return PlainProgress(stream)


class PlainProgress:
    """A line every few seconds, for as long as the block lasts."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._said_s = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, tally: Tally) -> None:
        """The numbers have changed; called often."""
        now_s = self._clock()
        if now_s - self._said_s >= PLAIN_EVERY_S:
            self._said_s = now_s
            self.note(f"{tally.finished:,}/{tally.pending_at_start:,} · {describe(tally)}")

    def note(self, sentence: str) -> None:
        """Something a person should know now."""
        say_to(self._stream, sentence)


class LiveProgress(PlainProgress):
    """A bar, and below it a line of numbers, redrawn in place. Raises ImportError where rich is missing."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn
        from rich.progress import Progress as Bar

        console = Console(file=stream)
        self._bar = Bar(BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), console=console)
        self._task: Any = None
        self._numbers = ""
        self._live = Live(
            get_renderable=lambda: Group(self._bar.get_renderable(), self._numbers),
            console=console,
            transient=True,
            refresh_per_second=4,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, tally: Tally) -> None:
        if self._task is None:
            self._task = self._bar.add_task("", total=tally.pending_at_start)
        self._bar.update(self._task, completed=tally.finished)
        self._numbers = describe(tally)

    def note(self, sentence: str) -> None:
        self._live.console.print(shown(sentence), markup=False, highlight=False)


def describe(tally: Tally) -> str:
    """done, failed, in flight, tokens, cost, requests per minute and the time to go, in one line."""
    parts = [f"{tally.done:,} done", f"{tally.failed:,} failed", f"{tally.in_flight:,} in flight"]
    if tally.done:
        parts.append(counted(tally.input_tokens + tally.output_tokens, "token"))
        parts.append("cost unknown" if tally.unpriced else f"${tally.cost_usd:,.4f}")
    rate, eta_s = tally.recent_per_min(), tally.eta_s()
    if rate is not None:
        parts.append(f"{rate:,.0f}/min")
    if eta_s is not None:
        parts.append(f"{duration(eta_s)} to go")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """1:02:03, or 2:03 below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
