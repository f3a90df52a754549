"""One job, from what was claimed to its outcome. Knows arq's rules and no Redis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import time_ns
from typing import TYPE_CHECKING, Any, Literal

from arq.constants import keep_cronjob_progress
from arq.cron import CronJob
from arq.jobs import SerializationError, serialize_result
from arq.worker import Function, JobExecutionFailed, Retry, RetryJob

from client.errors import JobCrashed, JobError, JobFailed, JobTimedOut
from client.wire import events
from client.wire.keys import KEYS

from . import settlement
from .meter import Meter
from .record import read_job, write_result
from .scripts import Claimed, Lease, Outcome, Verb

if TYPE_CHECKING:  # what jobs find in their context; the engine knows neither
    from client import Limits
    from worker.jobs.job_llm import JobLLM

RETRY_TTL_S = 88_400  # seconds; what arq gives its own count of tries
MAX_CRASHES = 3  # workers a job may take with it before it is a dead letter

Ending = Literal["complete", "failed", "retried", "handed back"]

logger = logging.getLogger("arq.worker")


class Throttled(Retry):
    """As arq.Retry, but the run that ended so uses no try: the job was only turned away.

    Without a delay the job keeps its place in its lane, and the cooldown of its limit does the waiting.
    """


class Reroute(Exception):
    """Raised by a job that belongs into another lane: it goes there, in its place in time, and uses no try.

    `lane` is the lane's name; `payload` replaces the job's where given.
    """

    def __init__(self, lane: str, payload: bytes | None = None) -> None:
        super().__init__(lane)
        self.lane = lane
        self.payload = payload


class Context(dict[Any, Any]):
    """arq's context of a run, with our additions as attributes, too: `ctx.limits` is `ctx["limits"]`."""

    @property
    def limits(self) -> Limits:
        """The limits of the fleet: `async with ctx.limits.slot("openai/gpt-4o"): …`"""
        limits: Limits = self["limits"]
        return limits

    @property
    def llm(self) -> JobLLM:
        """The worker's LLM, as a job of one's own sees it: `await ctx.llm.ask("openai/gpt-4o", prompt)`."""
        llm: JobLLM = self["llm"]
        return llm


@dataclass(slots=True)
class Run:
    """A job that runs here. `stop` says why its task was cancelled, where it was one of us."""

    claimed: Claimed
    meter: Meter = field(default_factory=Meter)
    task: asyncio.Task[None] | None = None
    stop: Literal["abort", "hand back", "lost"] | None = None
    job_try: int = 1
    function: str = "<unknown>"
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    enqueued_ms: int = 0
    started_ms: int = 0
    ended: Ended | None = None  # what it came to; whatever stops a hook afterwards does not change it

    @property
    def lease(self) -> Lease:
        return self.claimed.lease

    @property
    def ref(self) -> str:
        """How the log names it. Its arguments are the caller's, not the log's."""
        return f"{self.claimed.lease.job_id}:{self.function}"


@dataclass(frozen=True, slots=True)
class Policy:
    """The worker's defaults for jobs that say nothing themselves."""

    timeout_s: float | None
    max_tries: int
    keep_result_s: float
    keep_result_forever: bool
    retry_jobs: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A run's outcome, and which of the worker's counters it moves."""

    outcome: Outcome
    ending: Ending


def now_ms() -> int:
    return time_ns() // 1_000_000


def read(run: Run, functions: Mapping[str, Function | CronJob], policy: Policy) -> Function | CronJob:
    """The function of a claimed job, its arguments set on `run`. Raises what the job is to fail with."""
    claimed = run.claimed
    run.started_ms = now_ms()
    if claimed.payload is None:
        raise JobExecutionFailed("job expired")
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


async def call(run: Run, function: Function | CronJob, ctx: dict[str, Any], policy: Policy) -> Any:
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


def context(run: Run, shared: dict[Any, Any]) -> Context:
    """arq's context for this run, and what the job may want to know of its lane and its limits."""
    context = Context(shared)
    context.update(
        job_id=run.lease.job_id,
        job_try=run.job_try,
        enqueue_time=datetime.fromtimestamp(run.enqueued_ms / 1000, UTC),
        score=run.claimed.score_ms,
        has_run=run.claimed.has_run,
        lane=KEYS.lane_name(run.lease.lane),
        limit_keys=settlement.keys_of(run.lease.limit_keys),
        meter=run.meter,
        payload=run.claimed.payload,
        token=run.lease.token,
    )
    if "limits" in shared:  # what the job holds by its lane, it does not wait for
        context["limits"] = shared["limits"].under(context["limit_keys"])
    return context


def succeeded(run: Run, result: Any, function: Function | CronJob, policy: Policy) -> Ended:
    return Ended(_final(run, "done", True, result, function, policy), "complete")


def failed(run: Run, error: BaseException, function: Function | CronJob | None, policy: Policy) -> Ended:
    """What follows an exception: arq's rules, but a worker that stops uses no try of its jobs."""
    if run.stop == "hand back":
        return Ended(_unfinished(run, "back"), "handed back")
    if isinstance(error, Reroute):
        to, text = KEYS.lane(error.lane), error.payload or b""
        return Ended(replace(_unfinished(run, "move"), to=to, text=text), "handed back")
    if isinstance(error, Throttled) and not error.defer_score:
        return Ended(replace(_unfinished(run, "away"), ttl_ms=RETRY_TTL_S * 1000), "retried")
    if isinstance(error, Retry) and policy.retry_jobs:
        return Ended(_again(run, "again" if isinstance(error, Throttled) else "retry", error), "retried")
    foreign_cancel = isinstance(error, asyncio.CancelledError) and run.stop is None
    if policy.retry_jobs and (isinstance(error, RetryJob) or foreign_cancel):
        return Ended(_again(run, "retry", None), "retried")
    verb: Verb = "dead" if _belongs_with_the_dead(error) else "done"
    return Ended(_final(run, verb, False, error, function, policy), "failed")


def _belongs_with_the_dead(error: BaseException) -> bool:
    """Crashed workers, and tries that ran out: what a person should look at and may want to run again."""
    exhausted = isinstance(error, JobExecutionFailed) and str(error).endswith("retries exceeded")
    worth_a_try = isinstance(error, JobError) and error.retryable  # and yet not tried again: none is left
    return exhausted or worth_a_try or isinstance(error, JobCrashed)


def _unfinished(run: Run, verb: Verb) -> Outcome:
    """It keeps its place in time."""
    return Outcome(run.lease, verb, moment_ms=run.claimed.score_ms, use=_use(run, verb))


def _again(run: Run, verb: Verb, error: Retry | None) -> Outcome:
    delay_ms = (error.defer_score or 0) if error else 0
    return Outcome(run.lease, verb, ttl_ms=RETRY_TTL_S * 1000, moment_ms=delay_ms, use=_use(run, verb))


def _use(run: Run, verb: Verb) -> str:
    return settlement.use(run.claimed, run.meter, verb)


def _final(
    run: Run,
    verb: Verb,
    success: bool,
    result: Any,
    function: Function | CronJob | None,
    policy: Policy,
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
    told = run.meter.told
    end = "" if told is None else (events.done(told) if success else events.failed(result)).decode()
    return Outcome(run.lease, verb, text, ttl_ms=ttl_ms, keep_ms=keep_ms, use=_use(run, verb), to=end)


def _record(run: Run, success: bool, result: Any) -> bytes:
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
        run.ref,
        run.lease.lane,
        run.lease.job_id,
        serializer=write_result,
    )
    if record is None:  # the arguments came from JSON and the result has been replaced by words by now
        raise SerializationError(f"{run.ref}: its result cannot be written")
    return record
