"""Rates from what the provider counted at several moments. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from .provider import Counts


def per_s(earlier: Counts, later: Counts) -> float:
    """Calls completed a second between two moments."""
    return (later.completed - earlier.completed) / max(later.at_s - earlier.at_s, 1e-9)


def refused_percent(earlier: Counts, later: Counts) -> float:
    """Of the requests between two moments, how many were refused."""
    return 100 * (later.refused - earlier.refused) / max(later.requests - earlier.requests, 1)


def windows(seen: Sequence[Counts], length_s: float) -> list[tuple[Counts, Counts]]:
    """For each moment that has one so far before it: the latest moment at least `length_s` before, and itself."""
    pairs, start = [], 0
    for later in seen:
        while start + 1 < len(seen) and later.at_s - seen[start + 1].at_s >= length_s:
            start += 1
        if later.at_s - seen[start].at_s >= length_s:
            pairs.append((seen[start], later))
    return pairs


def settled(
    seen: Sequence[Counts], *, least_per_s: float, most_refused_percent: float, length_s: float
) -> Counts | None:
    """The first moment from which every window of `length_s` has the rate and few refusals; None for never."""
    found: Counts | None = None
    for earlier, later in reversed(windows(seen, length_s)):
        if per_s(earlier, later) < least_per_s or refused_percent(earlier, later) >= most_refused_percent:
            break
        found = earlier
    return found


def reached(seen: Sequence[Counts], *, least_per_s: float, length_s: float) -> Counts | None:
    """The end of the first window of `length_s` that has the rate; None for never."""
    return next(
        (later for earlier, later in windows(seen, length_s) if per_s(earlier, later) >= least_per_s), None
    )
