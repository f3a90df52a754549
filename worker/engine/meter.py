"""What a run's calls really used: its job fills the meter in, and the engine settles the reservation by it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Meter:
    """`ctx["meter"]`, one per run. A run that is cut short leaves what is known until then."""

    called: bool = False  # a request has gone out: its reservation is not simply given back
    requests: int = 1  # so many have gone out under the run's own slots, where one has
    tokens: int | None = None  # input + output, summed over calls; None: unknown, the reservation stands
    output_tokens: int | None = None  # for the learned mean
    usd: float | None = None  # None: unknown, the reservation stands
    answered: bool = False  # the provider answered: congestion control may raise the limit
    refused: bool = False  # 429, 503 or 529
    overloaded: bool = False  # it was 503 or 529: whoever was not refused may be, too
    refused_s: float | None = None  # how long the provider asked us to wait, seconds
    told: str | None = None  # of a streamed run: the id of its last event, empty for none
