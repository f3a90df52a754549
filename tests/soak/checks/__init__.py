"""What must hold of a soak, each with a name and one sentence of evidence."""

from __future__ import annotations

from collections.abc import Callable

from tests.soak.record import Record

from .capacity import calm, limits, recovery
from .ends import answers, lost, own_jobs, streams, tries
from .finding import Finding
from .ledger import attempts, cost, paid_twice, parts
from .order import conversations, places
from .traces import faults, job_keys, keys, lanes, logs, slots, tracebacks, trouble, workers

__all__ = ["CHECKS", "Finding", "check_all"]

CHECKS: tuple[Callable[[Record], Finding], ...] = (
    lost,
    answers,
    limits,
    paid_twice,
    attempts,
    cost,
    parts,
    tries,
    own_jobs,
    conversations,
    places,
    recovery,
    calm,
    streams,
    trouble,
    slots,
    lanes,
    keys,
    job_keys,
    tracebacks,
    logs,
    faults,
    workers,
)


def check_all(record: Record) -> list[Finding]:
    return [check(record) for check in CHECKS]
