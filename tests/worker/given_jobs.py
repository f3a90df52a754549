"""A module of jobs as a user may have it; tests copy it to a worker's working directory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date
from typing import Any

from arq import Retry
from pydantic import BaseModel

from worker import job


class Report(BaseModel):
    title: str
    written_on: date


@dataclass
class Point:
    x: int
    y: int


@job
async def add(a: int, b: int = 0) -> int:
    return a + b


@job(name="renamed")
async def with_ctx(ctx: Any, word: str) -> list[Any]:
    return [ctx["job_id"], ctx["job_try"], word]


@job
async def a_model() -> Report:
    return Report(title="Mills", written_on=date(2026, 1, 2))


@job
async def a_dataclass() -> Point:
    return Point(1, 2)


@job
async def not_json() -> object:
    return {"handle": object()}


@job
async def not_text() -> bytes:
    return b"\xff\xfe"


@job
async def holds_itself() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@job
async def raises() -> None:
    raise LookupError("no document 7")


@job
async def times_out_itself() -> None:
    raise TimeoutError("the database is slow")


@job(timeout_s=0.1)
async def never_ends() -> None:
    await asyncio.Event().wait()


@job
async def runs_again_later(ctx: Any) -> int:
    if ctx["job_try"] == 1:
        raise Retry(defer=0.3)
    return int(ctx["job_try"])


@job(max_tries=2)
async def always_again() -> None:
    raise Retry(defer=0.01)


@job(result_ttl_s=0)
async def kept_by_nobody() -> str:
    return "gone"


@job(result_ttl_s=60)
async def kept_for_a_minute() -> str:
    return "kept"


@job
async def enqueues_another(ctx: Any, job_id: str) -> None:
    await ctx["redis"].enqueue_job("add", 20, 22, _job_id=job_id)


@job
async def asks(ctx: Any, *prompts: str) -> list[str]:
    answers = await asyncio.gather(*(ctx.llm.ask("openai/gpt-4o-mini", prompt) for prompt in prompts))
    return [answer.text for answer in answers]


@job(max_tries=1)
async def asks_in_turn(ctx: Any, first: str, second: str) -> list[str]:
    one = await ctx.llm.ask("openai/gpt-4o-mini", first)
    two = await ctx.llm.ask("openai/gpt-4o-mini", second)
    async with ctx.limits.slot("gpu-box"):
        return [one.text, two.text]
