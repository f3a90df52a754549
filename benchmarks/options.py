"""What a run was asked for, and how it goes through the systems one after another."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from .ours import OURS
from .report import Case, Figures
from .system import System

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """`absent` holds the reason for each peer that was asked for and cannot be imported.

    `only` names the cases of a benchmark that offers a choice; none means all.
    """

    quick: bool = False
    peers: Sequence[System] = ()
    absent: dict[str, str] = field(default_factory=dict)
    only: Sequence[str] = ()

    def pick(self, full: T, quick: T) -> T:
        return quick if self.quick else full

    def systems(self, *, only: Sequence[str] | None = None, with_threads: bool = True) -> list[System]:
        """Ours, then the peers; `only` those named, and those of a thread a job only where that is asked."""
        peers = [peer for peer in self.peers if only is None or peer.name in only]
        return [OURS, *(peer for peer in peers if with_threads or not peer.in_threads)]

    def absences(self, *, only: Sequence[str] | None = None) -> list[Case]:
        """A case for each peer that cannot be imported."""
        return [absent(name, why) for name, why in self.absent.items() if only is None or name in only]


def absent(name: str, reason: str) -> Case:
    return Case(name, {"absent": reason})


def is_absent(figures: Figures) -> bool:
    return "absent" in figures


async def measured(
    name: str, measure: Callable[P, Awaitable[Figures]], *args: P.args, **kwargs: P.kwargs
) -> Figures:
    """What `measure` finds; where it fails the reason, as `absent`: one system never ends the run."""
    print(f"  {name} …", file=sys.stderr, flush=True)
    try:
        return await measure(*args, **kwargs)
    except Exception as error:  # a peer may raise anything
        return {"absent": f"{type(error).__name__}: {error}".rstrip(": ")}


def figure(figures: Figures, name: str) -> float:
    """A figure that is there. Raises TypeError otherwise."""
    value = figures[name]
    if not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, not a number.")
    return value
