"""The job that completes a prompt: read, find the route, call, and say what follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from client.errors import JobError
from client.wire.schemas import ChatRequest, Completion
from promptmill.dialects import Delta

from .call import Call, CallProgress, timings
from .request import find_route, read_request
from .retries import what_follows
from .services import JobContext


async def chat(ctx: JobContext, request: dict[str, Any]) -> Completion:
    """One completion: `request` is a ChatRequest as JSON data.

    Raises arq.Retry where another try may help, Throttled where the provider has no room, Reroute where the job
    belongs into the lane of its model or of the next of its fallbacks, and otherwise a JobError: BadRequest for a
    request that cannot be used, ProviderNotConfigured, or the last attempt's error. `ctx.meter` tells what was
    used, however the run ends. Cancelling it stops the call, and leaves the ledger of earlier attempts as it is.
    With `stream`, what the provider writes is relayed as it comes.
    """
    asked = read_request(ChatRequest, request)
    if not asked.stream:
        return await _complete(ctx, asked)
    async with ctx.services.relay.line(ctx.job_id, ctx.token, ctx.meter) as tell:
        return await _complete(ctx, asked, tell)


async def _complete(
    ctx: JobContext, asked: ChatRequest, tell: Callable[[Delta], None] | None = None
) -> Completion:
    llm = ctx.services.llm
    start = await find_route(ctx, asked, llm.chat_route)  # or to another lane: only there it is admitted
    call, progress = Call(ctx, start.route, start.next_number, ctx.meter), CallProgress(tell)
    try:
        if tell is None:
            answer = await call.make(llm.chat(asked, call_id=call.id), progress)
        else:
            streaming = llm.chat_stream(asked, call_id=call.id, on_delta=progress.hear)
            answer = await call.make(streaming, progress)
    except JobError as error:
        raise await what_follows(ctx, asked, start, error, call.attempt, [call.attempt]) from None
    return Completion(
        job_id=ctx.job_id,
        model=f"{start.route.provider.name}/{answer.model}",  # the provider's name for it
        usage=answer.usage,
        cost_usd=call.attempt.cost_usd,
        timings=timings(ctx, call.attempt.started_at, call.attempt.duration_s),
        attempts=[*start.earlier, call.attempt],
        text=answer.text,
        finish_reason=answer.finish_reason,
        tool_calls=answer.tool_calls,
        reasoning=answer.reasoning,
        response_id=answer.response_id,
        extra=answer.extra,
        metadata=asked.metadata,
    )
