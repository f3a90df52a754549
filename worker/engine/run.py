"""One job, from what was claimed to its outcome. Knows arq's rules and no Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from arq.constants import keep_cronjob_progress
from arq.cron import CronJob
from arq.jobs import SerializationError, serialize_result
from arq.worker import Function, JobExecutionFailed, Retry, RetryJob
from pydantic_core import to_json

from client import words
from client.errors import JobCrashed, JobError, JobFailed, JobTimedOut
from client.wire import events
from client.wire.keys import Keys
from client.wire.limit_keys import keys_of
from client.wire.record import expired, last_record, now_ms
from client.wire.token import claimed_us
from worker.context import Context, Meter
from worker.signals import Reroute, Throttled

from . import settlement
from .record import Unread, never_read, read_job, write_result
from .scripts import Claimed, Lease, Outcome, Verb

RETRY_TTL_S = 88_400  # seconds; what arq gives its own count of tries
UNKNOWN = "<unknown>"  # the function of a job whose record has gone with its deadline
NO_LANES = (
    "Chats, embeddings and CPU jobs run in lanes, which a queue of arq's with a name of its own has not: enqueue them "
    "without the name."
)
MAX_CRASHES = 3  # workers a job may take with it before it is a dead letter

Ending = Literal["complete", "failed", "retried", "handed back", "left unread"]

logger = words.logger("arq.worker")
_name_of = lru_cache(4_096)(Keys.lane_name)


@dataclass(slots=True)
class Run:
    """A job that runs here. `stop` says why its task was cancelled, where it was one of us."""

    claimed: Claimed
    epoch: str = ""  # of Redis's data, as the claim told
    keys: Keys = field(default_factory=Keys)
    meter: Meter = field(default_factory=Meter)
    task: asyncio.Task[None] | None = None
    stop: Literal["abort", "hand back", "lost"] | None = None
    job_try: int = 1
    function: str = UNKNOWN
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] | None = None
    enqueued_ms: int = 0
    started_ms: int = 0
    last: bytes | None = None  # how the run before ended, if any, of a job that has expired
    ended: Ended | None = None  # what it came to; whatever stops a hook afterwards does not change it
    lease: Lease = field(init=False)

    def __post_init__(self) -> None:
        self.lease = self.claimed.lease

    def __str__(self) -> str:
        return self.ref  # made only where it is logged

    @property
    def ref(self) -> str:
        """How the log names it. Its arguments are the caller's, not the log's."""
        lane = self.lease.lane
        where = f" in {self.keys.lane_name(lane) or lane}" if self.function == UNKNOWN else ""
        return f"{self.lease.job_id}:{self.function}{where}"

    def is_meant(self, abort_ms: float) -> bool:
        """Whether a request to abort is no older than the job or, by the server's clock, than this run: an older one
        meant an earlier job of its id."""
        return 0 < self.enqueued_ms <= abort_ms or abort_ms * 1000 >= claimed_us(self.lease.token)


@dataclass(frozen=True, slots=True)
class Policy:
    """The worker's defaults for jobs that say nothing themselves."""

    timeout_s: float | None
    max_tries: int
    keep_result_s: float
    keep_result_forever: bool
    stream_ttl_s: float
    retry_jobs: bool


class Ended(NamedTuple):
    """A run's outcome, and which of the worker's counters it moves."""

    outcome: Outcome
    ending: Ending


def read(run: Run, functions: Mapping[str, Function | CronJob], policy: Policy) -> Function | CronJob:
    """The function of a claimed job, its arguments set on `run`. Raises what the job is to fail with."""
    claimed = run.claimed
    run.started_ms = now_ms()
    if claimed.payload is None:
        error = expired(run.keys, run.last, run.lease.lane)
        run.function = error.details.get("function", run.function)
        raise error
    if claimed.was_unread or not claimed.payload:
        raise never_read()
    job = read_job(claimed.payload)
    name, run.enqueued_ms = job.f, job.et
    run.function, run.args, run.kwargs = name, tuple(job.a), job.k
    run.job_try = max(claimed.tries_used + 1, job.t or 0)
    if claimed.crashes >= MAX_CRASHES:
        raise JobCrashed(
            f"The job was running on {claimed.crashes} workers when they died, so it is set aside."
        )
    if claimed.abort_ms and claimed.abort_ms >= run.enqueued_ms:  # an older request meant an older job
        run.stop = "abort"
        raise asyncio.CancelledError
    if name not in functions:
        raise JobExecutionFailed(f"function {name!r} not found")
    function = functions[name]
    max_tries = policy.max_tries if function.max_tries is None else function.max_tries
    if run.job_try > max_tries:
        raise JobExecutionFailed(f"max {max_tries} retries exceeded")
    return function


async def call(run: Run, function: Function | CronJob, ctx: Context, policy: Policy) -> object:
    """What the job returns, within its timeout."""
    timeout_s = policy.timeout_s if function.timeout_s is None else function.timeout_s
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return await function.coroutine(ctx, *run.args, **(run.kwargs or {}))
    except TimeoutError as error:
        if limit.expired():
            raise JobTimedOut(f"The job ran longer than its timeout of {timeout_s:g} s.") from None
        name = type(error).__name__  # its own, from something it waited for
        raise JobFailed(f"{name}: {error}".removesuffix(": "), error_type=name) from error


def context(
    run: Run, shared: Mapping[Any, Any], make: type[Context], keep: Callable[[Mapping[str, bytes]], None]
) -> Context:
    """arq's context for this run, and what the job may want to know of its lane and its limits."""
    claimed, lease = run.claimed, run.lease
    return make(
        shared,
        job_id=lease.job_id,
        job_try=run.job_try,
        enqueue_time=datetime.fromtimestamp(run.enqueued_ms / 1000, UTC),
        score=claimed.score_ms,
        lane=_name_of(run.keys, lease.lane),
        limit_keys=keys_of(lease.limit_keys),
        token=lease.token,
        payload=claimed.payload or b"",
        has_run=claimed.has_run,
        shut=claimed.shut,
        meter=run.meter,
        keep=keep,
    )


def succeeded(run: Run, result: object, function: Function | CronJob, policy: Policy) -> Ended:
    return Ended(_final(run, "done", True, result, function, policy), "complete")


def failed(run: Run, error: BaseException, function: Function | CronJob | None, policy: Policy) -> Ended:
    """What follows an exception: arq's rules, but a worker that stops uses no try of its jobs."""
    if run.stop == "hand back":
        return Ended(_unfinished(run, "back"), "handed back")
    if isinstance(error, Unread):
        return Ended(_unfinished(run, "unread"), "left unread")
    if isinstance(error, Reroute) and run.keys.is_named(run.lease.lane):
        error = JobFailed(NO_LANES, error_type="InvalidRequest")
    if isinstance(error, Reroute):
        to, text = run.keys.lane(error.lane), error.payload or b""
        return Ended(_unfinished(run, "reroute")._replace(to=to, text=text), "handed back")
    if isinstance(error, Throttled) and not error.defer_score:
        text = _last(run, error)
        return Ended(_unfinished(run, "throttled")._replace(text=text, ttl_ms=RETRY_TTL_S * 1000), "retried")
    if isinstance(error, Retry) and policy.retry_jobs:
        return Ended(_again(run, "again" if isinstance(error, Throttled) else "retry", error), "retried")
    foreign_cancel = isinstance(error, asyncio.CancelledError) and run.stop is None
    if policy.retry_jobs and (isinstance(error, RetryJob) or foreign_cancel):
        return Ended(_again(run, "retry", error), "retried")
    verb: Verb = "dead" if _is_dead_letter(run, error) else "done"
    return Ended(_final(run, verb, False, error, function, policy), "failed")


def _is_dead_letter(run: Run, error: BaseException) -> bool:
    """Crashed workers, tries that ran out, what nobody could read: a person should look at it, and may run it again."""
    exhausted = isinstance(error, JobExecutionFailed) and str(error).endswith("retries exceeded")
    worth_a_try = isinstance(error, JobError) and error.retryable  # and yet not tried again: none is left
    return exhausted or worth_a_try or run.claimed.was_unread or isinstance(error, JobCrashed)


def _unfinished(run: Run, verb: Verb) -> Outcome:
    """It keeps its place in time."""
    return Outcome(run.lease, verb, use=_use(run, verb), attempts=_attempts(run))


def _again(run: Run, verb: Verb, error: BaseException) -> Outcome:
    delay_ms = (error.defer_score or 0) if isinstance(error, Retry) else 0
    return Outcome(
        run.lease,
        verb,
        _last(run, error),
        ttl_ms=RETRY_TTL_S * 1000,
        delay_ms=delay_ms,
        use=_use(run, verb),
        attempts=_attempts(run),
    )


def _last(run: Run, error: BaseException) -> bytes:
    attempts = max((attempt.number for attempt in run.meter.attempts), default=run.job_try)
    return last_record(run.function, why_again(error), attempts)


def why_again(error: BaseException) -> str:
    """Why a job that raised it runs again: what it noted, or else what it raised."""
    return "; ".join(getattr(error, "__notes__", ())) or type(error).__name__


def _use(run: Run, verb: Verb) -> str:
    return settlement.use(run.claimed, run.meter, verb)


def _attempts(run: Run) -> bytes:
    """What its calls came to, in the order of their numbers: a run's calls may end in any."""
    return b"\n".join(map(to_json, sorted(run.meter.attempts, key=attrgetter("number"))))


def _final(
    run: Run, verb: Verb, success: bool, result: Any, function: Function | CronJob | None, policy: Policy
) -> Outcome:
    ttl_s, forever = policy.keep_result_s, policy.keep_result_forever
    if function is not None:
        ttl_s = ttl_s if function.keep_result_s is None else function.keep_result_s
        forever = forever if function.keep_result_forever is None else function.keep_result_forever
    text = b""
    if forever or ttl_s > 0:
        text = _record(run, success, result)
    keep_ms = keep_cronjob_progress * 1000 if isinstance(function, CronJob) else 0
    ttl_ms = 0 if forever else round(ttl_s * 1000)
    last_id = run.meter.last_event_id
    end = ""
    if last_id is not None:
        event = events.done(last_id) if success else events.failed(result)
        end = f"{round(policy.stream_ttl_s * 1000)} {event.decode()}"
    return Outcome(
        run.lease,
        verb,
        text,
        ttl_ms=ttl_ms,
        keep_ms=keep_ms,
        use=_use(run, verb),
        to=end,
        attempts=_attempts(run) if verb == "dead" else b"",  # a dead letter takes its history along
    )


def _record(run: Run, success: bool, result: object) -> bytes:
    record = serialize_result(
        run.function,
        run.args,
        dict(run.kwargs or {}),
        run.job_try,
        run.enqueued_ms,
        success,
        result,
        run.started_ms,
        now_ms(),
        run.lease.job_id,
        run.lease.lane,
        run.lease.job_id,
        serializer=write_result,
    )
    if record is None:  # the arguments came from JSON and the result has been replaced by words by now
        raise SerializationError(f"{run.ref}: its result cannot be written")
    return record
