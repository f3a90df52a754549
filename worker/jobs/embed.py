"""The job that turns texts into vectors."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

from client.errors import MalformedResponse
from client.wire.schemas import Embeddings, EmbedRequest, Usage
from client.wire.vectors import Vectors
from worker.calls import to_the_end
from worker.signals import Reroute

from .call import timings
from .done_parts import Vectored
from .embed_fault import locate
from .embed_run import Embedding, Failed
from .embed_split import split
from .request import Start, find_route, read_request
from .retries import what_follows
from .services import JobContext


async def embed(ctx: JobContext, request: dict[str, Any]) -> Embeddings:
    """The vectors of an EmbedRequest's texts, in their order; `request` is the EmbedRequest as JSON data.

    The texts go out in parts that the provider takes, side by side where its limits have room. Parts that
    are done stay done: a job that runs again, or one that asks for the same after this has failed, asks for
    the others only. Raises as `chat` does. Cancelling it stops all calls.
    """
    asked = read_request(EmbedRequest, request)
    start = await find_route(ctx, asked, ctx.services.llm.embed_route)
    provider = start.route.provider
    items = asked.texts_per_call or provider.embed_items
    parts = split(asked.texts, items=items, tokens=provider.embed_tokens)
    started_at, begun_s = datetime.now(UTC), time.monotonic()
    embedding = Embedding(ctx, asked, start, parts)
    try:
        if failed := await embedding.run():
            raise await _follows(ctx, asked, start, embedding, failed)
    except asyncio.CancelledError:
        embedding.keep()
        raise
    done = deque(embedding.done.pop(part) for part in parts)
    model = f"{provider.name}/{done[0].model}"  # the provider's name for it
    usage, cost_usd = _usage(done), _cost_usd(done)
    vectors = await to_the_end(_joined(done, str(start.route)))
    return Embeddings(
        job_id=ctx.job_id,
        model=model,
        usage=usage,
        cost_usd=cost_usd,
        timings=timings(ctx, started_at, time.monotonic() - begun_s),
        attempts=[*start.earlier, *embedding.attempts],
        vectors=vectors,
        metadata=asked.metadata,
    )


async def _follows(
    ctx: JobContext, asked: EmbedRequest, start: Start, embedding: Embedding, failed: Failed
) -> Exception:
    """What ends a run of which a call has failed. What is done is kept for whoever has use for it."""
    error, last = failed
    locate(
        error,
        asked.texts,
        next((part for part in embedding.parts if part.start == last.part), embedding.parts[0]),
    )
    follows = await what_follows(ctx, asked, start, error, last, embedding.attempts)
    if error.retryable and not isinstance(follows, Reroute):  # another model starts anew
        embedding.keep()
    elif follows is error:
        await embedding.keep_for_all()
    return follows


async def _joined(done: deque[Vectored], model: str) -> Vectors:
    """All of their vectors. Each part is let go once it is in them."""
    sizes = {each.dimensions for each in done}
    if len(sizes) > 1:
        raise MalformedResponse(f"{model} answered vectors of {min(sizes)} and of {max(sizes)} numbers.")
    return await Vectors.of_bytes((done.popleft().numbers for _ in range(len(done))), sizes.pop())


def _usage(done: Iterable[Vectored]) -> Usage:
    """The sum; what one part does not tell is not known of all."""
    told = [vars(each.usage) for each in done]
    names = Usage.model_fields
    return Usage(**{n: None if any(t[n] is None for t in told) else sum(t[n] for t in told) for n in names})


def _cost_usd(done: Collection[Vectored]) -> float | None:
    costs = [each.cost_usd for each in done if each.cost_usd is not None]
    return sum(costs) if len(costs) == len(done) else None
