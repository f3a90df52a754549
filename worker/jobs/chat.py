"""The job that completes a prompt."""

from __future__ import annotations

from typing import Any

from client.schemas import ChatRequest, Completion

from . import attempts


async def chat(ctx: dict[str, Any], request: dict[str, Any]) -> Completion:
    """One completion: `request` is a ChatRequest as JSON data.

    Raises arq.Retry where another try may help, and otherwise a JobError: BadRequest for a request that
    cannot be used, ProviderNotConfigured, or the last attempt's error. Cancelling it stops the call.
    """
    asked = attempts.read_request(ChatRequest, request)
    llm = ctx["llm"]
    outcome = await attempts.run(
        ctx, llm.chat_route(asked.model), lambda call_id: llm.chat(asked, call_id=call_id)
    )
    answer = outcome.answer
    return Completion(
        **outcome.fields(answer.model, answer.usage),
        text=answer.text,
        finish_reason=answer.finish_reason,
        tool_calls=answer.tool_calls,
        response_id=answer.response_id,
        metadata=asked.metadata,
    )
