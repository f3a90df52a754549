"""REDIS_URL=redis://localhost:6379 flask --app examples.flask_service run"""

import os
from typing import Any

from flask import Flask, request

from client import JobError, JobStatus, SyncQueue

app = Flask(__name__)
queue = SyncQueue.from_url(os.environ["REDIS_URL"])  # one for the whole process, for every thread


@app.post("/questions")
def ask() -> tuple[dict[str, Any], int]:
    job = queue.chat(request.get_json()["prompt"])
    return {"job_id": job.id}, 202


@app.get("/questions/<job_id>")
def look(job_id: str) -> tuple[dict[str, Any], int]:
    job = queue.job(job_id)
    status = job.status()
    if status is JobStatus.not_found:
        return {"error": "No such question, or its answer has expired."}, 404
    if status is not JobStatus.complete:
        return {"status": status.value}, 200
    try:
        return {"status": "complete", "answer": job.result().text}, 200
    except JobError as error:
        return {"status": "failed", "error": error.message}, 200
