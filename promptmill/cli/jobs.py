"""`promptmill status`, `result` and `abort`: one job, by its id."""

from __future__ import annotations

import click

from client import Job, JobInfo, JobStatus, ResultTimeout

from .failures import FAILED
from .interrupts import run_command
from .open_queue import no_worker_hint, open_queue, with_queue
from .printing import field, json_option, print_json, print_result, seconds_option
from .terminal import say

ABORT_WAIT_S = 10  # for the worker to cancel the job and say so

_job_id = click.argument("job_id", metavar="ID")


@click.command()
@_job_id
@json_option
def status(job_id: str, as_json: bool) -> None:
    """Say what has become of a job.

    Prints deferred, queued, in_progress or complete, and what else is known.
    """
    info = with_queue("status", lambda queue: queue.job(job_id).info())
    print_json(info) if as_json else say(_describe(info))


@click.command()
@_job_id
@seconds_option("--wait", "How long to wait for a job that has not finished.")
@json_option
def result(job_id: str, wait_s: float, as_json: bool) -> None:
    """Print what a job returned.

    Exits with 1 where the job failed, or has not finished.
    """
    run_command(_result(job_id, wait_s, as_json=as_json))


@click.command()
@_job_id
@click.pass_context
def abort(ctx: click.Context, job_id: str) -> None:
    """End a job, whether queued or running.

    Exits with 1 where it had finished already.
    """
    if not run_command(_abort(job_id)):
        say(f"Job {job_id} had finished: its result stands.", err=True)
        ctx.exit(FAILED)
    say(f"Job {job_id} was aborted.")


async def _result(job_id: str, wait_s: float, *, as_json: bool) -> None:
    async with open_queue("result") as (queue, stack):
        job = queue.job(job_id)
        info = await job.info()
        if info.status is not JobStatus.complete:
            if stack.kind == "private":  # and so nobody can finish it while we wait
                raise ResultTimeout(f"Job {job_id} is {info.status.value}, and {no_worker_hint(stack)}.")
            if not wait_s:
                raise ResultTimeout(f"Job {job_id} is {info.status.value}: ask again later, or with --wait.")
        print_result(await job.result(wait_s or None), as_json=as_json)


async def _abort(job_id: str) -> bool:
    async with open_queue("abort") as (queue, _):
        job: Job[object] = queue.job(job_id)
        await job.info()  # an id that is unknown is told apart from a job that had finished
        return await job.abort(ABORT_WAIT_S)


def _describe(info: JobInfo) -> str:
    lines = [info.status.value, f"  function  {field(info.function)}"]
    moments = {
        "enqueued": info.enqueued_at,
        "due": info.due_at,
        "started": info.started_at,
        "finished": info.finished_at,
    }
    lines += [f"  {name:<9} {moment:%F %T} UTC" for name, moment in moments.items() if moment]
    if info.tries is not None:
        lines.append(f"  tries     {info.tries}")
    if info.waiting:
        lines.append(f"  {field(info.waiting.sentence)}")
    if info.error:
        lines.append(f"  error     {field(info.error)}")
    return "\n".join(lines)
