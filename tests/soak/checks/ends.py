"""How jobs ended: none lost, none answered wrongly, none failed before its time."""

from __future__ import annotations

from math import inf

from client import Completion, Embeddings, JobAborted, JobError, ProviderError
from client.errors import JobCrashed, JobFailed, QueueUnavailable, SlotLost, TriesExhausted
from tests.soak import answers as right
from tests.soak.plan import MAX_TRIES
from tests.soak.record import FAILURES, Outcome, Planned, Record

from .finding import Finding, found

CRASHES = 3  # of a dead letter


def lost(record: Record) -> Finding:
    """Every job that was enqueued ends as an answer, or as an error that it may end with."""
    wrong = []
    for id_, outcome in record.outcomes.items():
        job = record.jobs[id_]
        if job.enqueued_s == inf:  # nobody was told that it is in the queue
            continue
        if not outcome.known:
            wrong.append(f"{id_} is lost")
        elif outcome.answer is None and outcome.error is None:
            wrong.append(f"{id_} has not ended")
        elif outcome.error is not None and not _may_end_with(record, job, outcome.error):
            wrong.append(f"{id_} ended with {type(outcome.error).__name__}: {outcome.error}")
    return found("lost", wrong, f"{len(record.outcomes)} jobs have ended")


def _may_end_with(record: Record, job: Planned, error: JobError) -> bool:
    """How often a provider's error may come is another check's."""
    if isinstance(error, JobCrashed):
        return sum((w.killed_s < inf) + len(w.stops) for w in record.workers.values()) >= CRASHES
    if isinstance(error, JobAborted):
        return job.abort_asked
    return isinstance(error, ProviderError | TriesExhausted) or _is_an_outage(job, error)


def _is_an_outage(job: Planned, error: JobError) -> bool:
    """An error of Redis's, or of a slot's, that the job's own code could not have avoided."""
    redis = isinstance(error, JobFailed) and error.error_type == QueueUnavailable.__name__
    return job.kind == "own" and (redis or isinstance(error, SlotLost))


def own_jobs(record: Record) -> Finding:
    """No job of one's own fails because Redis was away, or its worker stood still."""
    own = {id_: outcome for id_, outcome in record.outcomes.items() if record.jobs[id_].kind == "own"}
    wrong = [
        f"{id_} failed: {outcome.error}"
        for id_, outcome in own.items()
        if outcome.error is not None and _is_an_outage(record.jobs[id_], outcome.error)
    ]
    return found("own jobs", wrong, f"{len(own)} jobs that call the provider themselves")


def answers(record: Record) -> Finding:
    """An answer is the one to its own prompt, word by word and number by number."""
    answered = {id_: outcome for id_, outcome in record.outcomes.items() if outcome.answer is not None}
    wrong = [f"{id_}: {_seen(outcome)}" for id_, outcome in answered.items() if not _is_right(record, id_)]
    return found("answers", wrong, f"{len(answered)} answers belong to their prompts")


def _is_right(record: Record, job_id: str) -> bool:
    answer, job = record.outcomes[job_id].answer, record.jobs[job_id]
    if isinstance(answer, Completion):
        return answer.text == right.text(job_id) and answer.job_id == job_id
    if isinstance(answer, Embeddings):
        return answer.vectors == [right.vector(text) for text in job.texts] and answer.job_id == job_id
    return bool(answer == [right.text(f"{job_id}/1"), right.text(f"{job_id}/2")])


def _seen(outcome: Outcome) -> str:
    answer = outcome.answer
    return repr(answer.text if isinstance(answer, Completion) else answer)[:120]


def tries(record: Record) -> Finding:
    """No chat or embedding fails before the provider has failed a prompt of it MAX_TRIES times."""
    calls, wrong, failed = record.by_job(), [], 0
    for id_, outcome in record.outcomes.items():
        if not isinstance(outcome.error, ProviderError | TriesExhausted) or record.jobs[id_].kind == "own":
            continue
        failed += 1
        seen = [call.ending for call in calls.get(id_, ()) if call.ending in FAILURES]
        if isinstance(outcome.error, TriesExhausted) or sum(end != "429" for end in seen) < MAX_TRIES:
            why = f"{type(outcome.error).__name__}, sent={outcome.error.details.get('sent')}"
            wrong.append(f"{id_} failed ({why}) after {', '.join(seen) or 'no call'}")
    return found("tries", wrong, f"{failed} chats and embeddings failed for good")


def streams(record: Record) -> Finding:
    """What a reader has put together, with resets applied, is the answer."""
    wrong, whole = [], 0
    for reading in record.readings:
        outcome = record.outcomes[reading.job_id]
        if isinstance(outcome.answer, Completion) and not reading.truncated:
            whole += 1
            if reading.last != "done" or reading.text != outcome.answer.text:
                wrong.append(
                    f"{reading.job_id} ({reading.comings} comings): {reading.last!r} {reading.text!r}"
                )
        elif outcome.error is not None and reading.last != "error":
            wrong.append(f"{reading.job_id} failed, and its reader was told {reading.last!r}")
    comings = sum(reading.comings for reading in record.readings)
    return found("streams", wrong, f"{len(record.readings)} readers came {comings} times, {whole} read all")
