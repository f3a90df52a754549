"""One job that asks five questions about a document side by side, and returns one typed result.

.env    JOB_MODULES=examples.analyse
shell   promptmill limits set openai/gpt-4o-mini concurrency=2
        REDIS_URL=redis://localhost:6379 python -m examples.analyse
"""

import asyncio
import os

from pydantic import BaseModel

from client import SyncQueue
from worker import Context, job


class Analysis(BaseModel):
    tone: str
    topics: str
    claims: str
    gaps: str
    summary: str


@job
async def analyse(ctx: Context, text: str) -> Analysis:
    ask, model = ctx.llm.ask, "openai/gpt-4o-mini"  # each call waits for a slot of its own
    async with asyncio.TaskGroup() as group:
        prompts = {aspect: f"Describe the {aspect} of: {text}" for aspect in Analysis.model_fields}
        asked = {aspect: group.create_task(ask(model, prompt)) for aspect, prompt in prompts.items()}
    return Analysis(**{aspect: task.result().text for aspect, task in asked.items()})


if __name__ == "__main__":
    with SyncQueue.from_url(os.environ["REDIS_URL"]) as queue:
        found = queue.enqueue("analyse", "Redis is an in-memory data store.").result(timeout_s=60)
    print(Analysis.model_validate(found).model_dump_json(indent=2))
