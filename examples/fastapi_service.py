"""REDIS_URL=redis://localhost:6379 uvicorn examples.fastapi_service:app"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Body, FastAPI, HTTPException

from client import JobError, JobStatus, Queue


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Queue.from_url(os.environ["REDIS_URL"]) as app.state.queue:  # one for the whole process
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/questions", status_code=202)
async def ask(prompt: Annotated[str, Body(embed=True)]) -> dict[str, str]:
    job = await app.state.queue.chat(prompt)
    return {"job_id": job.id}


@app.get("/questions/{job_id}")
async def look(job_id: str) -> dict[str, str]:
    job = app.state.queue.job(job_id)
    status = await job.status()
    if status is JobStatus.not_found:
        raise HTTPException(404, "No such question, or its answer has expired.")
    if status is not JobStatus.complete:
        return {"status": status.value}
    try:
        return {"status": "complete", "answer": (await job.result()).text}
    except JobError as error:
        return {"status": "failed", "error": error.message}
