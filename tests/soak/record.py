"""All that happened in a soak: what the checks read. Times are monotonic seconds, unless they say otherwise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, TypeAlias

from client import JobError
from tests.soak.plan import LEASE_S, Fault, Options

Kind: TypeAlias = Literal["chat", "embed", "own"]
# How a call ended, as the provider saw it: `cut` by the provider, `hung up` by the caller
Ending: TypeAlias = Literal["open", "completed", "429", "500", "503", "cut", "hung up"]

FAILURES: tuple[Ending, ...] = ("429", "500", "503", "cut")
NOTICE_S = LEASE_S / 3 + 1.0  # within which a worker that slept has noticed that its leases are lost
SAFE_S = LEASE_S / 2  # a worker, or Redis, may be away so long without losing a lease


@dataclass(slots=True)
class Planned:
    """A job, as it was enqueued."""

    id: str
    kind: Kind
    model: str
    stream: bool = False
    texts: tuple[str, ...] = ()
    priority: Literal["low", "normal", "high"] = "normal"
    tenant: str | None = None
    conversation: str | None = None
    turn: int = 0
    defer_s: float = 0
    enqueued_s: float = inf  # when Redis had said yes
    abort_asked: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """A call as the provider saw it. `prompt` is a job's id, and of jobs with several also which of them."""

    prompt: str
    job_id: str
    model: str
    worker: str
    began_s: float
    ended_s: float = inf
    ending: Ending = "open"


@dataclass(slots=True)
class Span:
    """A time in which something was away."""

    what: Fault
    began_s: float
    ended_s: float = inf

    def meets(self, began_s: float, ended_s: float) -> bool:
        return self.began_s <= ended_s and began_s <= self.ended_s

    @property
    def lasted_s(self) -> float:
        return self.ended_s - self.began_s


@dataclass(slots=True)
class WorkerLife:
    """What was done to a worker, and what it said."""

    name: str
    started_s: float
    killed_s: float = inf
    told_s: float = inf  # to end
    stops: list[Span] = field(default_factory=list)
    exit_code: int | None = None
    was_ready: bool = False
    ended_by_itself: bool = False
    log: str = ""


@dataclass(slots=True)
class Reading:
    """What a reader of a stream made of its events, over all its comings and goings."""

    job_id: str
    text: str = ""
    last: Literal["", "done", "error"] = ""
    truncated: bool = False
    comings: int = 0


@dataclass(slots=True)
class Outcome:
    """How a job ended: an answer, an error, or neither. `known` is false where Redis has lost it."""

    answer: Any = None
    error: JobError | None = None
    known: bool = True


@dataclass(slots=True)
class Leftovers:
    """What was in Redis when all was over."""

    immortal: list[str] = field(default_factory=list)  # keys without a TTL, of none of the allowed kinds
    of_jobs: list[str] = field(default_factory=list)  # keys of jobs that have ended
    held_slots: list[str] = field(default_factory=list)
    lanes: list[str] = field(default_factory=list)  # that still hold jobs


@dataclass(slots=True)
class Record:
    options: Options
    started_s: float = 0
    calm_s: tuple[float, float] = (inf, inf)
    jobs: dict[str, Planned] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    workers: dict[str, WorkerLife] = field(default_factory=dict)
    faults: list[Span] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    told_calls: dict[str, int] = field(default_factory=dict)  # `promptmill cost`, by model
    leftovers: Leftovers = field(default_factory=Leftovers)
    trouble: list[str] = field(default_factory=list)  # of readers and producers, that should not be

    def by_job(self) -> dict[str, list[Call]]:
        """Each job's calls, in their order."""
        return _grouped((call.job_id, call) for call in self.calls)

    def by_prompt(self) -> dict[str, list[Call]]:
        return _grouped((call.prompt, call) for call in self.calls)

    def redis_away(self) -> Iterator[Span]:
        return (span for span in self.faults if span.what in ("stop Redis", "kill Redis", "freeze Redis"))

    def provider_away(self) -> Iterator[Span]:
        return (span for span in self.faults if span.what in ("refuse connections", "overload the provider"))

    def is_disturbed(self, began_s: float, ended_s: float) -> bool:
        """Whether Redis, the provider or a worker was away at some time of it."""
        stops = (stop for worker in self.workers.values() for stop in worker.stops)
        return any(s.meets(began_s, ended_s) for s in (*self.redis_away(), *self.provider_away(), *stops))

    def dead_from_s(self, call: Call) -> float:
        """From when on a call counts as a dead worker's: its slot may have lapsed, and others may have it.

        So it is from the moment its worker is stopped, or Redis goes away, for longer than a lease is sure
        to last, until the worker has had the time to notice.
        """
        pauses = self.lapses(call.worker, call.began_s, call.ended_s)
        return min([self.workers[call.worker].killed_s, *(max(p.began_s, call.began_s) for p in pauses)])

    def lapses(self, worker: str, began_s: float, ended_s: float) -> list[Span]:
        """The pauses by which a lease may have ended that the worker held in this time."""
        pauses = (*self.workers[worker].stops, *self.redis_away())
        return [p for p in pauses if p.lasted_s > SAFE_S and p.meets(began_s - NOTICE_S, ended_s)]


def _grouped(pairs: Iterable[tuple[str, Call]]) -> dict[str, list[Call]]:
    groups: dict[str, list[Call]] = defaultdict(list)
    for key, call in pairs:
        groups[key].append(call)
    return groups
