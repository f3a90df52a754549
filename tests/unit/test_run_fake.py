"""A queue for the tests of `promptmill run`: Redis and the workers as a few dictionaries.

What outlives a run (results, jobs, calls that were paid for) is in `Server`; each run opens a `FakeQueue`
of its own on it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from client.errors import InvalidRequest, JobAborted, JobError, JobNotFound, QueueUnavailable
from client.wire.schemas import Attempt, ChatRequest, Completion, Embeddings, EmbedRequest, Timings, Usage
from promptmill.cli.run.options import Defaults, RunOptions
from promptmill.cli.run.plan import OnInvalid, Report, open_plan
from promptmill.cli.run.progress import PlainProgress
from promptmill.cli.run.runner import StopSignal, Timing, run
from promptmill.cli.run.summary import RunSummary
from settings import Settings

Request = ChatRequest | EmbedRequest
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(_env_file=None, openai_api_key="test")
PROMPTS = ("one", "two", "three", "vier ä", "two")  # one of them twice
QUICK = Timing(tick_s=0.001, silence_s=1e9, patience_s=0)


def check(options: RunOptions, settings: Settings, *, on_invalid: OnInvalid | None = None) -> Report:
    """What `open_plan` reports or raises, leaving nothing behind."""
    with open_plan(options, settings, on_invalid=on_invalid) as plan:
        return plan.report


class Server:
    """What survives a killed run. `answer` decides what becomes of a request; None leaves it running."""

    def __init__(self, answer: Callable[[Request], Any] | None = None) -> None:
        self.answer = answer or reply
        self.requests: dict[str, Request] = {}
        self.results: dict[str, Any] = {}
        self.paid: list[str] = []  # what was asked of the provider, in order
        self.ids: list[str] = []  # every job id that was ever enqueued, in order
        self.forgotten: list[str] = []
        self.limits: set[str] = set()  # every limit key that a run sent
        self.most_unfinished = 0
        self.is_away = False
        self.has_workers = True
        self.changed = asyncio.Event()

    def work(self) -> None:
        """The workers do all they can."""
        for job_id, request in list(self.requests.items()):
            result = self.answer(request)
            if result is not None:
                self.paid.append(asked(request))
                del self.requests[job_id]
                self.results[job_id] = (
                    result.model_copy(update={"job_id": job_id, "metadata": request.metadata})
                    if isinstance(result, Completion | Embeddings)
                    else result
                )
        self.changed.set()
        self.changed = asyncio.Event()


class FakeJob:
    def __init__(self, job_id: str, server: Server) -> None:
        self.id = job_id
        self._server = server

    async def result(self, timeout_s: float | None = None) -> Any:
        while self.id not in self._server.results:
            if self._server.is_away:
                raise QueueUnavailable("Redis cannot be reached.")
            if self.id not in self._server.requests:
                raise JobNotFound(f"There is no job {self.id}.")
            await self._server.changed.wait()
        result = self._server.results[self.id]
        if isinstance(result, JobError):
            raise result
        return result

    async def abort(self, timeout_s: float | None = 10) -> bool:
        if self._server.is_away:
            raise QueueUnavailable("Redis cannot be reached.")
        if self._server.requests.pop(self.id, None) is None:
            return False
        self._server.results[self.id] = JobAborted("The job was aborted before it started.")
        self._server.changed.set()
        self._server.changed = asyncio.Event()
        return True


class FakeQueue:
    """client.Queue, as far as a run uses it. `auto`: the workers answer as soon as the run waits."""

    def __init__(self, server: Server, *, auto: bool = True) -> None:
        self.server = server
        self._auto = auto
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.server.changed = asyncio.Event()  # one of this event loop
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._worker:
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker

    async def chat_many(
        self,
        requests: Iterable[ChatRequest],
        *,
        job_ids: Sequence[str] | None = None,
        limits: Sequence[str] = (),
    ) -> list[FakeJob]:
        return self._put(list(requests), list(job_ids or ()), limits)

    async def embed_many(
        self,
        requests: Iterable[EmbedRequest],
        *,
        job_ids: Sequence[str] | None = None,
        limits: Sequence[str] = (),
    ) -> list[FakeJob]:
        return self._put(list(requests), list(job_ids or ()), limits)

    async def forget(self, job_ids: Iterable[str]) -> None:
        self._check()
        for job_id in job_ids:
            self.server.results.pop(job_id, None)
            self.server.forgotten.append(job_id)

    async def workers_alive(self) -> bool:
        return self.server.has_workers

    def _put(self, requests: Sequence[Request], job_ids: list[str], limits: Sequence[str]) -> list[FakeJob]:
        self._check()
        self.server.limits |= set(limits)
        if any(asked(request) == "too large" for request in requests):
            raise InvalidRequest("The request is too large.")
        server = self.server
        for job_id, request in zip(job_ids, requests, strict=True):
            server.ids.append(job_id)
            if job_id not in server.requests and job_id not in server.results:
                server.requests[job_id] = request
        server.most_unfinished = max(server.most_unfinished, len(server.requests))
        if self._auto and (self._worker is None or self._worker.done()):
            self._worker = asyncio.create_task(self._work())
        return [FakeJob(job_id, server) for job_id in job_ids]

    async def _work(self) -> None:
        await asyncio.sleep(0)
        self.server.work()

    def _check(self) -> None:
        if self.server.is_away:
            raise QueueUnavailable("Redis cannot be reached.")


class Notes(PlainProgress):
    """A progress that remembers."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.sentences: list[str] = []

    def update(self, tally: object) -> None:
        pass

    def note(self, sentence: str) -> None:
        self.sentences.append(sentence)


def asked(request: Request) -> str:
    """The words of a request."""
    if isinstance(request, EmbedRequest):
        return "|".join(request.texts)
    return str(request.messages[-1].content)


def reply(request: Request) -> Completion | Embeddings:
    """An answer that echoes."""
    told: dict[str, Any] = {
        "job_id": "j",
        "model": request.model or "openai/default",
        "usage": Usage(input_tokens=3, output_tokens=2),
        "cost_usd": 0.5,
        "timings": Timings(enqueued_at=NOW, queued_s=0, running_s=0.25),
        "attempts": [Attempt(number=1, model="m", started_at=NOW, duration_s=0.25)],
    }
    if isinstance(request, EmbedRequest):
        return Embeddings(vectors=[[0.5, 1.0] for _ in request.texts], **told)
    return Completion(text=f"echo: {asked(request)}", finish_reason="stop", **told)


def options(path: Path, **changes: Any) -> RunOptions:
    """A run of in.jsonl in `path`."""
    defaults: dict[str, Any] = {
        "output": path / "out.jsonl",
        "defaults": Defaults(model="openai/gpt-4o-mini"),
    }
    return RunOptions(str(path / "in.jsonl"), **(defaults | changes))


async def complete(
    opts: RunOptions, server: Server, *, auto: bool = True, stop: StopSignal | None = None, **extra: Any
) -> RunSummary:
    """One run from start to end."""
    with open_plan(opts, extra.pop("settings", SETTINGS)) as plan:
        async with FakeQueue(server, auto=auto) as queue:
            progress = extra.pop("progress", None) or Notes()
            timing = extra.pop("timing", QUICK)
            return await run(plan, queue, progress=progress, stop=stop or StopSignal(), timing=timing)


def write_prompts(path: Path, *prompts: str) -> None:
    lines = [json.dumps({"prompt": prompt}) + "\n" for prompt in prompts]
    (path / "in.jsonl").write_text("".join(lines))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def texts(path: Path) -> list[str]:
    """What was answered, in order."""
    return sorted(record["text"].removeprefix("echo: ") for record in read_lines(path / "out.jsonl"))
