"""A case's figures beside its goal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from benchmarks.options import is_absent, measured
from benchmarks.report import Case, Figures


async def judged(
    name: str, measure: Callable[[], Awaitable[Figures]], goal: str, meets: Callable[[Figures], bool]
) -> Case:
    """What `measure` finds and whether it meets the goal; one that fails is absent, with the reason."""
    figures = await measured(name, measure)
    return Case(name, figures, goal, None if is_absent(figures) else meets(figures))


def at_least(figures: Figures, name: str, least: float) -> bool:
    value = figures[name]
    return isinstance(value, int | float) and value >= least


def at_most(figures: Figures, name: str, most: float) -> bool:
    """False where there is no such figure: what has not happened is not soon enough."""
    value = figures[name]
    return isinstance(value, int | float) and value <= most
