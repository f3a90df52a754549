"""What a job of one's own gets beside arq's context: `ctx["llm"].ask`, and another try where one may help."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from arq import Retry
from arq.worker import Function

from client.errors import JobError
from worker.jobs.retries import Again, decide
from worker.sdks.failures import worth_a_try

from .job_llm import JobLLM


def user_job(function: Function, max_tries: int) -> Function:
    """The same job, its context complete; it runs again after errors that are worth another try.

    Such an error is a retryable JobError, or an SDK's that stands for one. Each run uses a try, as a job
    may have paid for other calls before: after the last of `max_tries`, or of its own, the error is raised.
    """
    coroutine: Any = function.coroutine
    most = max_tries if function.max_tries is None else function.max_tries

    async def run(ctx: dict[str, Any], /, *args: Any, **kwargs: Any) -> Any:
        ctx["llm"] = JobLLM(ctx)
        try:
            return await coroutine(ctx, *args, **kwargs)
        except Exception as error:  # a group of them is one, too
            found = worth_a_try(error)
            if found is None and (told := _told(error)) is not error:
                raise told from None
            if found is None:
                raise
        if ctx["job_try"] >= most:
            raise found
        again = Retry(_delay_s(found, ctx["job_try"], most))
        again.add_note(f"try {ctx['job_try']} of {most} failed: {found}")  # for the log
        raise again

    again: Any = run
    return replace(function, coroutine=again)


def _delay_s(error: JobError, job_try: int, max_tries: int) -> float:
    follows = decide(
        error,
        tries_used=job_try - 1,
        max_tries=max_tries,
        attempts=job_try,
        roll=random.random(),  # noqa: S311  jitter, not a secret
    )
    assert isinstance(follows, Again)
    return follows.delay_s


def _told(error: Exception) -> Exception:
    """Of a group, such as a TaskGroup's, the typed error that says why."""
    each = error.exceptions if isinstance(error, ExceptionGroup) else ()
    return next((one for one in each if isinstance(one, JobError) and not one.retryable), error)
