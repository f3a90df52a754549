"""The job that turns texts into vectors."""

from __future__ import annotations

from typing import Any

from client.schemas import Embeddings, EmbedRequest

from . import attempts


async def embed(ctx: dict[str, Any], request: dict[str, Any]) -> Embeddings:
    """The vectors of an EmbedRequest's texts, in their order; `request` is the EmbedRequest as JSON data.

    Raises as `chat` does. Cancelling it stops the call.
    """
    asked = attempts.read_request(EmbedRequest, request)
    llm = ctx["llm"]
    outcome = await attempts.run(
        ctx, llm.embed_route(asked.model), lambda call_id: llm.embed(asked, call_id=call_id)
    )
    answer = outcome.answer
    return Embeddings(
        **outcome.fields(answer.model, answer.usage), vectors=answer.vectors, metadata=asked.metadata
    )
