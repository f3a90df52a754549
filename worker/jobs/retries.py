"""What follows a call that failed: retry, wait, go on to another model, or fail. `decide` is pure."""

from __future__ import annotations

import random
from asyncio import CancelledError
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

from arq import Retry
from redis.exceptions import RedisError

from client.errors import (
    AuthenticationFailed,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    JobCrashed,
    JobError,
    MalformedResponse,
    MillError,
    ModelNotFound,
    Overloaded,
    PermissionRefused,
    ProviderError,
    ProviderNotConfigured,
    ProviderTimeout,
    ProviderUnreachable,
    QuotaExhausted,
    RateLimited,
)
from client.wire.reservation import FALLBACK_AFTER_MS, FALLBACK_LIFE_SHARE
from client.wire.schemas import Attempt
from worker.signals import Throttled

from . import failure, reroute
from .request import Request, Start
from .services import JobContext

FALLBACK_AFTER_S = FALLBACK_AFTER_MS / 1000  # how long a job with other models is turned away by one
LIFE_SHARE = 1 / FALLBACK_LIFE_SHARE  # of a job's life, which is as long where it is shorter

BASE_S = 1.0  # seconds; the ceiling of the first wait
CAP_S = 60.0  # seconds; the ceiling of every wait

# By class name, as the ledger keeps it: the provider has no room now, the worker died, or the call was cut off as its
# job was handed back; the request is not at fault. A worker of an earlier version counts the last as a try.
_TURNED_AWAY = (RateLimited.__name__, Overloaded.__name__)
_USES_NO_TRY = frozenset({*_TURNED_AWAY, JobCrashed.__name__, CancelledError.__name__})
_UNREACHED = (ProviderUnreachable.__name__, ProviderTimeout.__name__)  # where nothing was sent

# Permanent for this model; another provider, or a larger model, may well answer
_ANOTHER_MODEL_MAY_HELP = (
    ProviderNotConfigured,
    AuthenticationFailed,
    PermissionRefused,
    QuotaExhausted,
    ModelNotFound,
    ContextTooLong,
    ContentFiltered,
    MalformedResponse,
)


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after `delay_s` seconds."""

    delay_s: float
    uses_a_try: bool


@dataclass(frozen=True, slots=True)
class NextModel:
    """Go on to the next of the request's fallback models, which has all its tries."""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """How long a job has been turned away by its model, without a break, and how long at most: seconds."""

    waited_s: float = 0.0
    most_s: float = FALLBACK_AFTER_S
    is_late: bool = False  # half of its life is over

    def ends_within(self, wait_s: float) -> bool:
        return self.waited_s + wait_s >= self.most_s


async def what_follows(
    ctx: JobContext, asked: Request, start: Start, error: JobError, last: Attempt, attempts: Sequence[Attempt]
) -> Exception:
    """The exception that ends this run: Reroute, Retry, Throttled, or `error` itself. Its calls were `attempts`.

    `last` is the attempt that ended in `error`; its part of the job has its tries to itself.
    """
    of_this_model = takewhile(lambda past: past.model == last.model, reversed(start.earlier))
    alike = [past for past in reversed([*of_this_model]) if past.part == last.part]
    settings = ctx.services.llm.settings
    tries_used = count_tries(alike, settings.unreachable_s)
    follows = decide(
        error,
        tries_used=tries_used,
        max_tries=settings.max_tries,
        attempts=len(alike) + 1,
        is_free=count_tries([*alike, last], settings.unreachable_s) == tries_used,
        roll=random.random(),  # noqa: S311  jitter, not a secret
        admitted=start.admitted,
        fallbacks=len(asked.fallbacks),
        waiting=await _waiting(ctx, asked, [*alike, last], error),
        translated=start.translated,
    )
    if isinstance(follows, NextModel):
        failure.explain(ctx, last, error)
        return reroute.to_fallback(ctx, asked, start.route.provider.kind)
    if follows:
        in_its_place = start.admitted and not follows.uses_a_try
        again = (Retry if follows.uses_a_try else Throttled)(None if in_its_place else follows.delay_s)
        again.add_note(str(error))  # for the log
        return again
    return failure.concluded(error, [*start.earlier, *attempts])


async def _waiting(
    ctx: JobContext, asked: Request, attempts: Sequence[Attempt], error: JobError
) -> TurnedAway:
    """Costs a round trip, where a job with other models to go on to may be kept by this one."""
    if not (asked.fallbacks and error.retryable):
        return TurnedAway()
    waited_s = failure.waiting_s(attempts, _turned_away)
    try:
        left_s = max(0, await ctx.services.redis.pttl(ctx.services.keys.job(ctx.job_id))) / 1000
    except (RedisError, OSError):
        return TurnedAway(waited_s)
    life_s = left_s + max(0.0, (datetime.now(UTC) - ctx.enqueue_time).total_seconds())
    most_s = min(FALLBACK_AFTER_S, life_s * LIFE_SHARE) if left_s else FALLBACK_AFTER_S
    return TurnedAway(waited_s, most_s, is_late=0 < left_s < life_s / 2)


def decide(
    error: JobError,
    *,
    tries_used: int,
    max_tries: int,
    attempts: int,
    roll: float,
    admitted: bool = False,
    fallbacks: int = 0,
    waiting: TurnedAway | None = None,
    translated: bool = False,
    is_free: bool = False,
) -> Again | NextModel | None:
    """What follows the attempt that just ended in `error`; None means that the job has failed.

    `tries_used` are the tries this model used before this attempt, `attempts` all its physical calls
    including it, `fallbacks` the models left to go on to and `roll` a random number in [0, 1). The waits between
    tries grow with the tries alone: what used none, however often, makes none of them longer.
    RateLimited and Overloaded use no try and never fail the job: its deadline does. An attempt that `is_free`,
    as nothing was sent (count_tries), is like these. A job that was `admitted` under its model's limit waits
    for nothing else, as the cooldown of that limit does the waiting. With fallbacks it goes on where its
    patience ends, or would end before the provider's Retry-After does, or where half of its life is over,
    whatever tries are left; also where the provider cannot be asked this or, as the request was `translated`,
    refuses what another may take. Otherwise the
    provider's Retry-After is the least we wait; the jitter comes on top, so that a fleet that was turned
    away together does not return together.
    """
    if is_free or not uses_a_try(type(error).__name__):
        if fallbacks and (waiting or TurnedAway()).ends_within(asked_s(error)):
            return NextModel()
        return Again(0.0 if admitted else wait_s(error, attempts, roll), uses_a_try=False)
    if error.retryable and tries_used + 1 < max_tries and not (fallbacks and waiting and waiting.is_late):
        return Again(wait_s(error, tries_used + 1, roll), uses_a_try=True)
    if fallbacks and (error.retryable or _another_model_may_help(error, translated)):
        return NextModel()
    return None


def _another_model_may_help(error: JobError, translated: bool) -> bool:
    if isinstance(error, BadRequest):
        return translated or error.details.get("sent") is False
    return isinstance(error, _ANOTHER_MODEL_MAY_HELP)


def uses_a_try(error: str | None) -> bool:
    """Whether an attempt that ended in an error of that class name counts against MAX_TRIES."""
    return error is not None and error not in _USES_NO_TRY


def count_tries(attempts: Iterable[Attempt], unreachable_s: float) -> int:
    """The tries that attempts at one model, oldest first, have used. What was never sent, as the provider could not
    be reached, uses none for `unreachable_s` seconds from the first of such attempts in a row; then each uses one."""
    used, since_s = 0, None
    for attempt in attempts:
        if not was_unreached(attempt):
            since_s = None
            used += uses_a_try(attempt.error)
            continue
        began_s = attempt.started_at.timestamp()
        since_s = began_s if since_s is None else since_s
        used += began_s + attempt.duration_s - since_s >= unreachable_s
    return used


def was_unreached(attempt: Attempt) -> bool:
    """Whether nothing was sent, as the provider could not be reached."""
    return not attempt.sent and attempt.error in _UNREACHED


def _turned_away(attempt: Attempt) -> bool:
    return attempt.error in _TURNED_AWAY or was_unreached(attempt)


def backoff_s(failures: int, roll: float) -> float:
    """Full jitter: `roll * min(CAP_S, BASE_S * 2 ** (failures - 1))` seconds, for `roll` in [0, 1).

    With the defaults, the waits after failures 1 to 7 and later lie below 1, 2, 4, 8, 16, 32 and 60
    seconds; the four waits of five tries come to 7.5 s on average and 15 s at most.

    Source: Exponential Backoff And Jitter, AWS Architecture Blog, 2015 ("full jitter").
    """
    return roll * min(CAP_S, BASE_S * 2.0 ** min(failures - 1, 16))


def wait_s(error: MillError, failures: int, roll: float) -> float:
    """What was asked for, and the jitter on top."""
    return asked_s(error) + backoff_s(failures, roll)


def asked_s(error: MillError) -> float:
    """The provider's Retry-After in seconds, 0 where it gave none."""
    return (error.retry_after_s or 0.0) if isinstance(error, ProviderError) else 0.0
