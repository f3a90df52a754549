"""How many times as much one has as another."""

from __future__ import annotations

from benchmarks.report import Figures


def ratio(ours: Figures, theirs: Figures, name: str) -> float | None:
    """None where one of them does not have the figure."""
    one, other = ours.get(name), theirs.get(name)
    if not isinstance(one, int | float) or not isinstance(other, int | float) or not other:
        return None
    return one / other
