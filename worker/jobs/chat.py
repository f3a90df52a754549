"""The job that completes a prompt."""

from __future__ import annotations

from functools import partial
from typing import Any

from client.wire.schemas import ChatRequest, Completion
from promptmill.dialects import ChatAnswer

from . import attempts
from .attempts import Answered


async def chat(ctx: dict[str, Any], request: dict[str, Any]) -> Completion:
    """One completion: `request` is a ChatRequest as JSON data.

    Raises arq.Retry where another try may help, Moved where the job belongs into the lane of its model or of
    the next of its fallbacks, and otherwise a JobError: BadRequest for a request that cannot be used,
    ProviderNotConfigured, or the last attempt's error. Cancelling it stops the call. With `stream`, what the
    provider writes is relayed as it comes.
    """
    asked = attempts.read_request(ChatRequest, request)
    llm = ctx["llm"]
    outcome: Answered[ChatAnswer]
    if asked.stream:
        async with ctx["relay"].line(ctx["job_id"], ctx["token"], ctx["meter"]) as tell:
            call = partial(llm.chat_stream, asked, on_delta=attempts.overheard(ctx, tell))
            outcome = await attempts.run(ctx, asked, llm.chat_route, lambda call_id: call(call_id=call_id))
    else:
        outcome = await attempts.run(
            ctx, asked, llm.chat_route, lambda call_id: llm.chat(asked, call_id=call_id)
        )
    answer = outcome.answer
    return Completion(
        **outcome.fields(),
        text=answer.text,
        finish_reason=answer.finish_reason,
        tool_calls=answer.tool_calls,
        reasoning=answer.reasoning,
        response_id=answer.response_id,
        metadata=asked.metadata,
    )
