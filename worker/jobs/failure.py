"""What follows a call that failed: another try, a wait, the next model, or the end."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import takewhile

from arq import Retry

from client.errors import JobError
from client.wire.schemas import Attempt
from worker.signals import Throttled

from . import ledger, reroute
from .request import Request, Start
from .retries import NextModel, decide, uses_a_try
from .services import JobContext


async def what_follows(
    ctx: JobContext,
    asked: Request,
    start: Start,
    error: JobError,
    last: Attempt,
    attempts: Sequence[Attempt],
) -> Exception:
    """The exception that ends this run, its `attempts` written down: Reroute, Retry, Throttled, or `error` itself.

    `last` is the attempt that ended in `error`; its part of the job has its tries to itself.
    """
    of_this_model = takewhile(lambda past: past.model == last.model, reversed(start.earlier))
    alike = [past for past in of_this_model if past.part == last.part]
    follows = decide(
        error,
        tries_used=sum(uses_a_try(past.error) for past in alike),
        max_tries=ctx.services.llm.settings.max_tries,
        attempts=len(alike) + 1,
        roll=random.random(),  # noqa: S311  jitter, not a secret
        admitted=start.admitted,
        fallbacks=len(asked.fallbacks),
    )
    if follows or error.retryable:  # without a try left it is a dead letter, which takes its history along
        await ledger.append(ctx, attempts, is_first=not start.earlier)
    if isinstance(follows, NextModel):
        return reroute.to_fallback(ctx, asked)
    if follows:
        in_its_place = start.admitted and not follows.uses_a_try
        again = (Retry if follows.uses_a_try else Throttled)(None if in_its_place else follows.delay_s)
        again.add_note(str(error))  # for the log
        return again
    error.details["attempts"] = attempts[-1].number
    return error
