"""A job that calls the anthropic SDK, which is built on httpx2 since its version 1.

.env    JOB_MODULES=examples.anthropic_sdk    ANTHROPIC_API_KEY=…
"""

from anthropic import AsyncAnthropic

from worker import Context, httpx2_client, job

sdk = AsyncAnthropic(http_client=httpx2_client(), max_retries=0)  # the queue retries


@job
async def verdict(ctx: Context, text: str) -> str:
    async with ctx.limits.slot("anthropic/claude-sonnet-5", tokens=900) as slot:
        answer = await sdk.messages.create(
            model="claude-sonnet-5",
            max_tokens=400,
            messages=[{"role": "user", "content": f"Is this true? {text}"}],
        )
        slot.settle(tokens=answer.usage.input_tokens + answer.usage.output_tokens)
    return "".join(block.text for block in answer.content if block.type == "text")
