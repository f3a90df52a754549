"""What a soak is made of: its options, its limits, and its faults, all drawn from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

LEASE_S = 5.0
DRAIN_S = 1.5
MAX_TRIES = 5  # the default
WORKERS = 3
MAX_JOBS = 40  # of one worker at once
TENANTS = ("red", "green", "blue")
TENANT_CONCURRENCY = 3

# By model: calls at once. BACKLOG always has more jobs than that.
ALPHA, BETA, BACKLOG, VECTORS = "soak/alpha", "soak/beta", "soak/backlog", "soak/vectors"
CONCURRENCY = {ALPHA: 5, BETA: 4, BACKLOG: 6, VECTORS: 4}
BACKLOG_JOBS = 120  # that wait at any moment

CALM_S = 17.0  # at the end of the time, without a fault: the fleet must be back at its capacity
BACK_WITHIN_S = (
    12.0  # of the calm: leases of dead workers end, and what an overload had them find is tried again
)

LIMITS = ", ".join(
    [f"{model} concurrency={calls}" for model, calls in CONCURRENCY.items()]
    + [f"tenant:* concurrency={TENANT_CONCURRENCY}"]
)

Fault: TypeAlias = Literal[
    "kill a worker",
    "stop a worker",
    "tell a worker to end",
    "stop Redis",
    "kill Redis",
    "freeze Redis",
    "cut Redis's connections",
    "refuse connections",
    "overload the provider",
]
# One deck: it is shuffled, drawn to its end, and shuffled again, so that a minute has nearly every kind
DECK: dict[Fault, int] = {
    "kill a worker": 4,
    "stop a worker": 2,
    "tell a worker to end": 3,
    "stop Redis": 1,
    "kill Redis": 1,
    "freeze Redis": 1,
    "cut Redis's connections": 1,
    "refuse connections": 1,
    "overload the provider": 1,
}
GAP_S = (2.0, 5.0)  # between the beginnings of two faults


@dataclass(frozen=True, slots=True)
class Options:
    minutes: float
    seed: int

    @property
    def time_s(self) -> float:
        return self.minutes * 60

    def dice(self, role: str) -> Random:
        """Each role has its own, so that one's draws do not depend on another's pace."""
        return Random(f"{self.seed} {role}")


@dataclass(frozen=True, slots=True)
class PlannedFault:
    at_s: float  # from the start
    kind: Fault
    lasts_s: float  # where it is one that lasts


def faults(options: Options) -> Iterator[PlannedFault]:
    """In their order, up to the calm."""
    dice = options.dice("faults")
    at_s, deck = dice.uniform(*GAP_S), list[Fault]()
    while at_s < options.time_s - CALM_S:
        if not deck:
            deck = [kind for kind, count in DECK.items() for _ in range(count)]
            dice.shuffle(deck)
        kind = deck.pop()
        yield PlannedFault(at_s, kind, _lasts_s(kind, dice))
        at_s += dice.uniform(*GAP_S)


def _lasts_s(kind: Fault, dice: Random) -> float:
    if kind == "stop a worker":
        return dice.uniform(1.3, 2.2) * LEASE_S
    if kind in ("stop Redis", "kill Redis", "freeze Redis"):  # one in four outlasts the leases
        return dice.uniform(1.2, 1.5) * LEASE_S if dice.random() < 0.25 else dice.uniform(0.5, 2)
    if kind in ("refuse connections", "overload the provider"):
        return dice.uniform(2, 5)
    return 0
