"""What a job of one's own gets beside arq's context: `ctx.limits`, `ctx.llm`, and another try where one may help."""

from __future__ import annotations

import random
from dataclasses import replace

from arq import Retry

from client.errors import JobError
from worker.context import CoroutineFunction, R

from .job_llm import JobLLM
from .retries import wait_s
from .sdk_failures import worth_a_try
from .services import JobContext


def user_job(function: R, max_tries: int) -> R:
    """The same job, its context complete; it runs again after errors that are worth another try.

    Such an error is a retryable JobError, or an SDK's that stands for one; or a slot was lost, or a Redis could not be
    reached that was not waited for (slots.py). Each run uses a try, as a job
    may have paid for other calls before: after the last of `max_tries`, or of its own, the error is raised.
    """
    coroutine = function.coroutine
    most = max_tries if function.max_tries is None else function.max_tries

    async def run(ctx: JobContext, /, *args: object, **kwargs: object) -> object:
        # what it holds by its lane, it does not wait for
        ctx["limits"] = ctx.services.limits.under(ctx.limit_keys)
        ctx["llm"] = JobLLM(ctx)
        try:
            return await coroutine(ctx, *args, **kwargs)
        except Exception as error:  # a group of them is one, too
            found = worth_a_try(error)
            if found is None and (typed := _first_typed_error(error)) is not error:
                raise typed from None
            if found is None:
                raise
        if ctx.job_try >= most:
            raise found
        again = Retry(wait_s(found, ctx.job_try, random.random()))  # noqa: S311  jitter, not a secret
        again.add_note(f"try {ctx.job_try} of {most} failed: {found}")  # for the log
        raise again

    complete: CoroutineFunction = run
    return replace(function, coroutine=complete)


def _first_typed_error(error: Exception) -> Exception:
    """Of a group, such as a TaskGroup's, the typed error that says why."""
    each = error.exceptions if isinstance(error, ExceptionGroup) else ()
    return next((one for one in each if isinstance(one, JobError) and not one.retryable), error)
