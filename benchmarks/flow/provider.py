"""The simulated provider, in a process of its own: what it has counted is the truth of every case."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import aiohttp

from promptmill.cli.stack.child import ChildProcess, start_child

START_LIMIT_S = 20
AT_ONCE = 50  # calls of our own in flight

_ROOT = Path(__file__).parents[2]
_HEADERS = {"authorization": "Bearer simulated"}
_LISTENING = re.compile(r"simulator listening on (\S+)")


@dataclass(frozen=True, slots=True)
class Counts:
    """Its `/stats` at one moment, counted from the last reset."""

    at_s: float  # on its own clock, from its start
    requests: int
    completed: int
    refused: int  # with 429
    open: int
    peak_open: int
    tokens: int  # of the completed calls, input and output
    first_request_at_s: float  # Unix; 0 for none
    last_answer_at_s: float  # Unix; 0 for none

    @property
    def wall_s(self) -> float:
        """From the first request to the last answer."""
        return max(0.0, self.last_answer_at_s - self.first_request_at_s)


class Provider:
    """A running simulator."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.base_url = f"{url}/v1"
        self._url = url
        self._http = http

    async def counts(self) -> Counts:
        seen = await self._stats(with_ids=False)
        return Counts(
            seen["uptime_s"],
            seen["requests"],
            seen["completed"],
            seen["refused_429"],
            seen["open"],
            seen["peak_open"],
            seen["tokens"]["input"] + seen["tokens"]["output"],
            seen["first_request_at_s"] or 0.0,
            seen["last_answer_at_s"] or 0.0,
        )

    async def answers(self) -> dict[str, int]:
        """For each job id how many answers it was given: 2 is one that was paid for twice."""
        answers: dict[str, int] = {}
        for call_id, count in (await self._stats(with_ids=True))["answers_per_request_id"].items():
            job_id = call_id.rpartition(":")[0]  # a call's id is its job's and the number of the attempt
            answers[job_id] = answers.get(job_id, 0) + count
        return answers

    async def reset(self) -> None:
        async with self._http.delete(f"{self._url}/stats") as reply:
            reply.raise_for_status()

    async def configure(self, **settings: Any) -> None:
        """Changes some of its settings (promptmill/simulator/config.py); calls being served go on as they began."""
        async with self._http.patch(f"{self._url}/config", json=settings) as reply:
            reply.raise_for_status()

    async def spend(self, prompts: Iterable[str], model: str) -> None:
        """Calls it ourselves, past the queue: what is left of its rates is smaller then."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def call(prompt: str) -> None:
            body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
            async with gate, self._http.post(f"{self.base_url}/chat/completions", json=body) as reply:
                reply.raise_for_status()

        await asyncio.gather(*map(call, prompts))

    async def _stats(self, *, with_ids: bool) -> dict[str, Any]:
        async with self._http.get(f"{self._url}/stats", params={"ids": str(int(with_ids))}) as reply:
            reply.raise_for_status()
            seen: dict[str, Any] = await reply.json()
            return seen


@asynccontextmanager
async def provider(**settings: Any) -> AsyncIterator[Provider]:
    """A simulator of these settings, each a field of its configuration; its process ends on the way out."""
    flags = [_flag(name.replace("_", "-"), value) for name, value in settings.items()]
    command = [sys.executable, "-m", "promptmill.simulator", *flags]
    with TemporaryDirectory(prefix="bench-") as directory:
        env = os.environ | {"PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"}
        child = start_child("simulator", command, Path(directory) / "simulator.log", env=env)
        try:
            url = await _until_listening(child)
            async with aiohttp.ClientSession(headers=_HEADERS) as http:
                yield Provider(url, http)
        finally:
            child.kill()


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"


async def _until_listening(child: ChildProcess) -> str:
    deadline = monotonic() + START_LIMIT_S
    while not (found := _LISTENING.search(child.log_text())):
        if not child.alive or monotonic() > deadline:
            raise child.obituary()
        await asyncio.sleep(0.01)
    return found[1]
