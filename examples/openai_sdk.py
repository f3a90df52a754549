"""A job that calls the openai SDK: its calls go over the worker's connections, within the limits of the fleet.

.env    JOB_MODULES=examples.openai_sdk    OPENAI_API_KEY=…
"""

from openai import AsyncOpenAI

from worker import Context, http_client, job

sdk = AsyncOpenAI(http_client=http_client(), max_retries=0)  # the queue retries


@job
async def headline(ctx: Context, text: str) -> str:
    async with ctx.limits.slot("openai/gpt-4o", tokens=900) as slot:
        answer = await sdk.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": f"A headline for: {text}"}]
        )
        slot.settle(tokens=answer.usage.total_tokens)
    return answer.choices[0].message.content
