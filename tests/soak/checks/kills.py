"""What killed workers were calling, and when it was called again."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from tests.soak.plan import LEASE_S
from tests.soak.record import Record

SLACK_S = 2.0  # after a lease has ended, for its job to be called again
_NOTICED_S = 0.5  # within which the provider has seen that a caller is gone


def called_again(record: Record) -> Iterator[tuple[str, float, float]]:
    """Each job with a call in flight when its worker was killed: its id, when that was, when its next call began.

    A kill is left out where Redis, the provider or another worker, which may have taken the job, was away before it
    could be called again.
    """
    kills = [w for w in record.workers.values() if w.killed_s < inf and not w.ended_by_itself]
    kills = [w for w in kills if not record.is_disturbed(w.killed_s, w.killed_s + LEASE_S + SLACK_S)]
    for job_id, calls in record.by_job().items():
        for worker in kills:
            killed_s = worker.killed_s
            was_calling = any(
                c.worker == worker.name and c.ending == "hung up" and c.ended_s > killed_s - _NOTICED_S
                for c in calls
            )
            again_s = min((c.began_s for c in calls if c.began_s > killed_s), default=inf)
            if was_calling and again_s < inf:
                yield job_id, killed_s, again_s
