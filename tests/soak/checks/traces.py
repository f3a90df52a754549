"""What is left behind, in Redis, in logs, and of processes."""

from __future__ import annotations

import re
from math import inf

from client.wire.keys import KEYS
from tests.soak.record import Record

from .finding import Finding, found

END_S = 10.0  # within which a worker that was told to end, or that starts, needs Redis

_LOSS = re.compile(r"(?m)^.*has lost its data.*$")


def slots(record: Record) -> Finding:
    held = record.leftovers.held_slots
    return found("slots", held, f"{len(held)} limit keys with slots that are still held")


def lanes(record: Record) -> Finding:
    full = record.leftovers.lanes
    return found("lanes", full, f"{len(full)} lanes that still hold jobs")


def keys(record: Record) -> Finding:
    immortal = record.leftovers.immortal
    return found("keys", immortal, f"{len(immortal)} keys that would stay for ever")


def job_keys(record: Record) -> Finding:
    """Results and streams may stay, and the parts of a dead letter; all else of a job ends with it."""
    failed = {KEYS.parts(id_) for id_, outcome in record.outcomes.items() if outcome.error is not None}
    failed -= {KEYS.parts(id_) for id_, job in record.jobs.items() if job.abort_asked}
    wrong = [key for key in record.leftovers.of_jobs if key not in failed]
    aborted = sum(
        record.jobs[id_].abort_asked for key in wrong if (id_ := key.rpartition(":")[2]) in record.jobs
    )
    return found("job keys", wrong, f"{len(wrong)} keys of jobs that have ended, {aborted} of aborted ones")


def tracebacks(record: Record) -> Finding:
    wrong = [f"{w.name}: {_after(w.log)}" for w in record.workers.values() if "Traceback" in w.log]
    return found("tracebacks", wrong, f"the logs of {len(record.workers)} workers")


def logs(record: Record) -> Finding:
    """Redis kept all that it had said yes to, so nobody may say that it has not."""
    wrong = [f"{w.name}: {said}" for w in record.workers.values() for said in _LOSS.findall(w.log)]
    return found("logs", wrong, f"{len(wrong)} lines say that Redis has lost its data")


def workers(record: Record) -> Finding:
    """A worker ends when it is told to, with 0, and never by itself. One that starts finds Redis, or ends with 1."""
    wrong = []
    for worker in record.workers.values():
        since_s = worker.told_s if worker.was_ready else worker.started_s
        away = any(span.meets(since_s, min(worker.killed_s, since_s + END_S)) for span in record.redis_away())
        if worker.ended_by_itself and (worker.was_ready or not away):
            wrong.append(f"{worker.name} ended by itself with {worker.exit_code}")
        elif worker.told_s < inf and worker.was_ready and not away and worker.exit_code != 0:
            wrong.append(f"{worker.name} was told to end, and its exit code is {worker.exit_code}")
    return found("workers", wrong, f"{len(record.workers)} workers")


def trouble(record: Record) -> Finding:
    return found("trouble", record.trouble, f"{len(record.readings)} readers of streams, and all producers")


def faults(record: Record) -> Finding:
    """That there were faults to stand: a soak without them shows nothing."""
    kinds = sorted({span.what for span in record.faults})
    return found(
        "faults", [] if kinds else ["there was none"], f"{len(record.faults)} faults: {', '.join(kinds)}"
    )


def _after(log: str) -> str:
    """The last line of the first traceback."""
    lines = log[log.index("Traceback") :].splitlines()[1:]
    return next(
        (line.strip() for line in lines if not line.startswith((" ", "|"))), lines[-1] if lines else ""
    )
