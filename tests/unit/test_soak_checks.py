"""The checks of the soak: each holds of a record where all went well, and fails where one thing did not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from client import Attempt, Completion, JobAborted, ProviderError, Timings, Usage
from client.errors import JobFailed, ProviderUnreachable
from tests.soak import answers
from tests.soak.checks import Finding, check_all
from tests.soak.plan import ALPHA, BACKLOG, CALM_S, CONCURRENCY, LEASE_S, Options, faults
from tests.soak.record import Call, Outcome, Planned, Reading, Record, Span, WorkerLife

AT = datetime(2026, 1, 1, tzinfo=UTC)


def attempt(error: str | None = None, number: int = 1) -> Attempt:
    return Attempt(number=number, model=ALPHA, started_at=AT, duration_s=1, error=error)


def completion(job_id: str, *attempts: Attempt, text: str | None = None) -> Completion:
    return Completion(
        job_id=job_id,
        model=ALPHA,
        usage=Usage(),
        cost_usd=None,
        timings=Timings(enqueued_at=AT, queued_s=0, running_s=1),
        attempts=[*attempts, attempt()],
        text=answers.text(job_id) if text is None else text,
        finish_reason="stop",
    )


def call(job_id: str, began_s: float, ended_s: float, worker: str = "one", **fields: object) -> Call:
    made = Call(job_id, job_id, ALPHA, worker, began_s, ended_s, "completed")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def add(record: Record, job: Planned, *calls: Call) -> None:
    record.jobs[job.id] = job
    record.outcomes[job.id] = Outcome(completion(job.id))
    record.calls += calls
    for one in calls:
        record.told_calls[one.model] = record.told_calls.get(one.model, 0) + 1


@pytest.fixture
def record() -> Record:
    """A minute in which all went well, with a worker killed and one that is there."""
    record = Record(Options(1, 1), calm_s=(100, 100 + CALM_S))
    record.workers = {"one": WorkerLife("one", 0), "dead": WorkerLife("dead", 0, killed_s=10)}
    record.faults = [Span("kill a worker", 10, 10)]
    add(record, Planned("chat-1", "chat", ALPHA, enqueued_s=1), call("chat-1", 1, 2))
    for number in range(CONCURRENCY[BACKLOG]):
        id_ = f"low-{number}"
        add(record, Planned(id_, "chat", BACKLOG, enqueued_s=1), call(id_, 100, 120, model=BACKLOG))
    record.readings = [Reading("chat-1", answers.text("chat-1"), "done", comings=1)]
    return record


def test_all_checks_hold_where_all_went_well(record: Record) -> None:
    assert [str(finding) for finding in check_all(record) if not finding.holds] == []


def lost(record: Record) -> None:
    record.outcomes["chat-1"] = Outcome(known=False)


def unfinished(record: Record) -> None:
    record.outcomes["chat-1"] = Outcome()


def aborted_by_nobody(record: Record) -> None:
    record.outcomes["chat-1"] = Outcome(error=JobAborted("It was aborted."))


def anothers_answer(record: Record) -> None:
    record.outcomes["chat-1"] = Outcome(completion("chat-1", text=answers.text("chat-2")))


def too_many(record: Record) -> None:
    for number in range(CONCURRENCY[ALPHA] + 1):
        add(record, Planned(f"many-{number}", "chat", ALPHA), call(f"many-{number}", 30, 31))


def two_of_a_tenant_too_many(record: Record) -> None:
    for number in range(4):
        job = Planned(f"red-{number}", "chat", ALPHA, tenant="red")
        add(record, job, call(job.id, 30, 31))


def paid_twice(record: Record) -> None:
    record.calls.append(call("chat-1", 3, 4))


def refused_and_not_told(record: Record) -> None:
    record.calls.append(call("chat-1", 0, 0.5, ending="429"))


def uncounted(record: Record) -> None:
    record.told_calls[ALPHA] -= 1


def part_again(record: Record) -> None:
    record.workers["ended"] = WorkerLife("ended", 0, told_s=20, exit_code=0)
    record.jobs["embed-1"] = Planned("embed-1", "embed", ALPHA)
    record.outcomes["embed-1"] = Outcome(error=ProviderError("It broke."))
    calls = [
        call("embed-1", 19, 21, "ended", prompt="embed-1#0"),
        call("embed-1", 22, 23, prompt="embed-1#0"),
    ]
    record.calls += calls


def failed_unasked(record: Record) -> None:
    record.outcomes["chat-1"] = Outcome(error=ProviderUnreachable("It is away.", sent=False))


def own_job_without_redis(record: Record) -> None:
    record.jobs["own-1"] = Planned("own-1", "own", "", enqueued_s=1)
    record.outcomes["own-1"] = Outcome(error=JobFailed("It failed.", error_type="QueueUnavailable"))


def turn_overtakes(record: Record) -> None:
    for turn, began_s in enumerate((32, 30)):
        job = Planned(f"turn-{turn}", "chat", ALPHA, conversation="a", turn=turn)
        add(record, job, call(job.id, began_s, began_s + 1))


def loses_its_place(record: Record) -> None:
    job = Planned("high-1", "chat", BACKLOG, priority="high")
    first = call(job.id, 9, 10, "dead", ending="hung up", model=BACKLOG)
    add(record, job, first, call(job.id, 90, 91, model=BACKLOG))
    for number in range(50, 80):
        id_ = f"behind-{number}"
        add(record, Planned(id_, "chat", BACKLOG, priority="low"), call(id_, number, number, model=BACKLOG))


def late_again(record: Record) -> None:
    first = call("chat-2", 9, 10, "dead", ending="hung up")
    add(record, Planned("chat-2", "chat", ALPHA), first, call("chat-2", 10 + LEASE_S + 3, 20))


def idle_in_the_calm(record: Record) -> None:
    record.calls = [call for call in record.calls if call.model != BACKLOG]


def spliced(record: Record) -> None:
    record.readings[0].text = "two tries in one"


def leftover(record: Record) -> None:
    for keys in ("held_slots", "lanes", "immortal", "of_jobs"):
        getattr(record.leftovers, keys).append("mill:something")


def bad_log(record: Record) -> None:
    record.workers[
        "one"
    ].log = "Traceback (most recent call last):\n  File\nKeyError: 1\nRedis has lost its data"


def ended(record: Record) -> None:
    record.workers["one"].ended_by_itself, record.workers["one"].was_ready = True, True


@pytest.mark.parametrize(
    ("goes_wrong", "name"),
    [
        (lost, "lost"),
        (unfinished, "lost"),
        (aborted_by_nobody, "lost"),
        (anothers_answer, "answers"),
        (too_many, "limits"),
        (two_of_a_tenant_too_many, "limits"),
        (paid_twice, "paid twice"),
        (refused_and_not_told, "attempts"),
        (uncounted, "cost"),
        (part_again, "parts"),
        (failed_unasked, "tries"),
        (own_job_without_redis, "own jobs"),
        (turn_overtakes, "conversations"),
        (loses_its_place, "places"),
        (late_again, "recovery"),
        (idle_in_the_calm, "calm"),
        (spliced, "streams"),
        (leftover, "slots"),
        (leftover, "lanes"),
        (leftover, "keys"),
        (leftover, "job keys"),
        (bad_log, "tracebacks"),
        (bad_log, "logs"),
        (ended, "workers"),
    ],
)
def test_a_check_fails_where_its_promise_is_broken(
    record: Record, goes_wrong: Callable[[Record], None], name: str
) -> None:
    goes_wrong(record)
    assert name in {finding.name for finding in check_all(record) if not finding.holds}


def test_calls_of_a_worker_that_slept_count_for_no_limit_from_its_pause_on(record: Record) -> None:
    record.workers["one"].stops.append(Span("stop a worker", 29, 29 + 2 * LEASE_S))
    record.workers["two"] = WorkerLife("two", 0)
    for number in range(2 * CONCURRENCY[ALPHA]):
        worker = "one" if number < CONCURRENCY[ALPHA] else "two"
        began_s = 28 if worker == "one" else 30
        add(record, Planned(f"many-{number}", "chat", ALPHA), call(f"many-{number}", began_s, 31, worker))
    assert named(record, "limits").holds


def test_a_crash_that_is_told_is_no_secret(record: Record) -> None:
    record.calls.append(call("chat-1", 3, 4))
    record.outcomes["chat-1"] = Outcome(completion("chat-1", attempt("JobCrashed")))
    assert named(record, "paid twice").holds


def test_a_seed_tells_the_faults() -> None:
    assert list(faults(Options(2, 7))) == list(faults(Options(2, 7)))
    assert list(faults(Options(2, 7))) != list(faults(Options(2, 8)))


def named(record: Record, name: str) -> Finding:
    return next(finding for finding in check_all(record) if finding.name == name)
