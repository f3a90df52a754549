"""Jobs of your own. One variable names their module to the worker:

.env       JOB_MODULES=examples.my_jobs
Procfile   worker: arq worker.WorkerSettings
"""

from typing import Any

from worker import Context, job


@job  # a coroutine that you already have: its own name, the default limits
async def count_words(text: str) -> int:
    return len(text.split())


@job(name="summary", timeout_s=120, max_tries=3)
async def summarise(ctx: Context, text: str, words: int = 50) -> dict[str, Any]:
    answer = await ctx.llm.ask("openai/gpt-4o-mini", f"Summarise in {words} words: {text}")
    return {"summary": answer.text, "words_before": await count_words(text)}
