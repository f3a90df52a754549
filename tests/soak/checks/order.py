"""Who came first: the turns of a conversation, and places in a lane."""

from __future__ import annotations

from collections import defaultdict

from tests.soak.plan import BACKLOG, CONCURRENCY, LEASE_S
from tests.soak.record import Call, Planned, Record

from .finding import Finding, found
from .kills import SLACK_S, called_again


def conversations(record: Record) -> Finding:
    """No turn is called before every earlier one has had its last call."""
    by_job, wrong, number = record.by_job(), [], 0
    talks: dict[str, list[Planned]] = defaultdict(list)
    for job in record.jobs.values():
        if job.conversation is not None:
            talks[job.conversation].append(job)
    for name, turns in talks.items():
        number += len(turns)
        began = [(call.began_s, job.turn) for job in turns for call in _alive(record, by_job.get(job.id, []))]
        order = [turn for _, turn in sorted(began)]
        if order != sorted(order):
            kind = "two models" if len({job.model for job in turns}) > 1 else "one model"
            wrong.append(f"{name} ({kind}) ran as {' '.join(map(str, order))}")
    return found("conversations", wrong, f"{len(talks)} conversations of {number} turns")


def _alive(record: Record, calls: list[Call]) -> list[Call]:
    return [call for call in calls if record.dead_from_s(call) > call.began_s]


def places(record: Record) -> Finding:
    """A high job whose worker was killed is called before the low ones that wait behind it.

    As many as may run at once could have been claimed in the same moment, so that number is no overtaking.
    """
    wrong, crashed = [], 0
    low = [calls[0].began_s for id_, calls in record.by_job().items() if _is(record.jobs[id_], "low")]
    for job_id, killed_s, again_s in called_again(record):
        if not _is(record.jobs[job_id], "high"):
            continue
        crashed += 1
        before = sum(killed_s + LEASE_S + SLACK_S < began_s < again_s for began_s in low)
        if before > CONCURRENCY[BACKLOG]:
            wrong.append(
                f"{job_id} ran again {again_s - killed_s:.1f} s after the kill, behind {before} low ones"
            )
    return found("places", wrong, f"{crashed} high jobs lost their worker in a lane with a backlog")


def _is(job: Planned, priority: str) -> bool:
    return job.model == BACKLOG and job.priority == priority
