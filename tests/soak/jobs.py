"""A job of one's own, as the soak's workers know it."""

from __future__ import annotations

from tests.soak.plan import ALPHA, BETA
from worker import Context, job


@job
async def asks_twice(ctx: Context, name: str) -> list[str]:
    first = await ctx.llm.ask(ALPHA, f"{name}/1 is the first question")
    second = await ctx.llm.ask(BETA, f"{name}/2 is the second question")
    return [first.text, second.text]
