"""A job that runs a LangChain chain.

.env    JOB_MODULES=examples.langchain_chain    OPENAI_API_KEY=…
"""

from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from worker import Context, http_client, job

model = ChatOpenAI(model="gpt-4o", http_async_client=http_client(), max_retries=0)  # the queue retries
chain = ChatPromptTemplate.from_template("Translate into {language}: {text}") | model


@job
async def translated(ctx: Context, text: str, language: str) -> str:
    async with ctx.limits.slot("openai/gpt-4o", tokens=900) as slot:
        answer = await chain.ainvoke({"text": text, "language": language})
        slot.settle(tokens=answer.usage_metadata["total_tokens"])
    return answer.text
