"""What was paid for, and whether it is told."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import inf

from client import Completion, Embeddings
from tests.soak.plan import CONCURRENCY, DRAIN_S, LEASE_S
from tests.soak.record import FAILURES, Call, Record, WorkerLife

from .finding import Finding, found

FLUSH_S = (
    0.5  # of totals that a worker had not written when it was killed; a tenth of a second, and a busy machine
)
COMMIT_S = 5.0  # in which a worker that is told to end writes the last of what it has
ARRIVAL_S = 0.3  # of an answer, and for the worker to take it, on a busy machine
_CUT_OFF = ("JobCrashed", "CancelledError")


def paid_twice(record: Record) -> Finding:
    """A prompt that was completed several times is told in `attempts`, or, after a deploy, in `cost`."""
    wrong, twice = [], 0
    for prompt, calls in record.by_prompt().items():
        completed = [call for call in calls if call.ending == "completed"]
        answer = record.outcomes[calls[0].job_id].answer
        if len(completed) < 2 or not isinstance(answer, Completion | Embeddings):
            continue
        twice += 1
        told = sum(attempt.error in _CUT_OFF for attempt in answer.attempts)
        part = (
            _part(prompt) if isinstance(answer, Embeddings) else None
        )  # an answer that came as its run was stopped:
        told += max(0, sum(a.part in (part, None) and a.error is None for a in answer.attempts) - 1)
        if len(completed) - 1 > told:
            by = ", ".join(_fate(record.workers[call.worker], call) for call in completed)
            wrong.append(f"{prompt}: {len(completed)} answers ({by}), {told} told")
    return found("paid twice", wrong, f"{twice} prompts were answered more than once")


def _part(prompt: str) -> int:
    return int(prompt.partition("#")[2])


def _fate(worker: WorkerLife, call: Call) -> str:
    """The first thing that was done to the worker in the call or after it."""
    done = [(stop.began_s, "stopped") for stop in worker.stops if stop.ended_s > call.began_s]
    done += [(worker.killed_s, "killed"), (worker.told_s, "told to end")]
    at_s, what = min(done)
    return f"{worker.name}, {what if at_s < inf else 'alive'}"


def attempts(record: Record) -> Finding:
    """Calls that the provider refused or failed are in the answer's attempts, if their workers lived on."""
    wrong, seen = [], 0
    for id_, calls in record.by_job().items():
        answer = record.outcomes[id_].answer
        if not isinstance(answer, Completion | Embeddings):
            continue
        failed = [call for call in calls if call.ending in FAILURES and _lived_on(record, call)]
        told = sum(attempt.error not in (None, *_CUT_OFF) for attempt in answer.attempts)
        seen += len(failed)
        if told < len(failed):
            endings = ", ".join(call.ending for call in failed)
            wrong.append(f"{id_}: the provider failed {len(failed)} ({endings}), {told} told")
    return found("attempts", wrong, f"{seen} failed calls of answered jobs")


def _lived_on(record: Record, call: Call) -> bool:
    worker = record.workers[call.worker]
    written_s = call.ended_s + LEASE_S  # by then, unless it stood still; then it is told of as a crash
    spared = min(worker.killed_s, worker.told_s) > written_s
    return spared and not record.lapses(call.worker, call.began_s, written_s)


def cost(record: Record) -> Finding:
    """`cost` counts what the provider saw, once, but for what the docs except; that is reckoned here, by model."""
    seen = Counter(call.model for call in record.calls)
    unwritten = Counter(call.model for call in record.calls if _may_be_unwritten(record, call))
    sums, wrong = [], []
    for model in sorted(seen):
        least, most = seen[model] - unwritten[model], seen[model] + _unread(record, model)
        told = record.told_calls.get(model, 0)
        sums.append(f"{model} {told} told of {seen[model]}")
        if not least <= told <= most:
            wrong.append(f"{model}: cost tells {told}, and {least} to {most} could be explained")
    return found("cost", wrong, ", ".join(sums))


def _unread(record: Record, model: str) -> int:
    """Requests that may have lain in the provider's sockets, sent and never read, as it closed them."""
    return CONCURRENCY[model] * sum(span.what == "refuse connections" for span in record.faults)


def _may_be_unwritten(record: Record, call: Call) -> bool:
    """It began just before its worker was killed, or while Redis was away, until then."""
    killed_s = record.workers[call.worker].killed_s
    if killed_s == inf:
        return False
    since_s = killed_s - FLUSH_S
    for span in record.redis_away():
        if span.meets(since_s, killed_s):
            since_s = min(since_s, span.began_s - FLUSH_S)
    return call.began_s >= since_s


def parts(record: Record) -> Finding:
    """What a worker that was told to end had finished of an embedding is not paid again. An answer that was sent as the
    drain ended may not have arrived before its call was cut off, and what cannot be written is lost with the worker. A
    run that stood still for longer than its lease lasts is a dead worker's, and so are the calls it goes on with."""
    by_job = record.by_job()
    again: dict[str, list[str]] = defaultdict(list)
    finished = 0
    for prompt, calls in record.by_prompt().items():
        if "#" not in prompt:
            continue
        first = next((call for call in calls if call.ending == "completed"), None)
        if first is None or not _drained(record, first, by_job[first.job_id]):
            continue
        finished += 1
        if any(call.began_s > first.ended_s and record.dead_from_s(call) > call.began_s for call in calls):
            again[first.job_id].append(prompt)
    wrong = [f"{id_}: {len(prompts)} parts paid again" for id_, prompts in again.items()]
    return found("parts", wrong, f"{finished} parts were finished by workers that were told to end")


def _drained(record: Record, call: Call, of_job: Sequence[Call]) -> bool:
    worker = record.workers[call.worker]
    drained_s = worker.told_s + DRAIN_S
    if not (worker.told_s < inf and worker.killed_s == inf and call.ended_s < drained_s - ARRIVAL_S):
        return False
    ended_s = max(
        each.ended_s for each in of_job if each.worker == worker.name
    )  # its run, but for the outcome
    unwritten = any(
        span.meets(call.ended_s, min(ended_s, drained_s) + COMMIT_S)
        and span.meets(worker.told_s, drained_s + COMMIT_S)
        for span in record.redis_away()
    )
    return not unwritten and not record.lapses(worker.name, call.began_s, ended_s + COMMIT_S)
