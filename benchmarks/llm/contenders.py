"""Who makes the calls: a worker of ours, workers with threads, the script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeAlias

from benchmarks.flow.mill import PROMPT, Mill, mill_beside
from benchmarks.flow.provider import Provider
from benchmarks.stage import Stage, stage
from benchmarks.system import System, Work

from . import blocking
from .calls import MODEL
from .reporter import Reporter, reporter

MAX_JOBS = 500  # the default
RPM, TPM = 30_000, 10_000_000  # the script's buckets: they are not to be what limits it


class Runner(Protocol):
    """A process that makes the calls that were asked for."""

    async def ask(self) -> None:
        """Asks for the calls: they wait for it."""

    async def start(self) -> None: ...

    def kill(self) -> None:
        """kill -9, for it to be started again."""

    def rss_bytes(self) -> int: ...


Open: TypeAlias = Callable[[Provider, int, float], AbstractAsyncContextManager[Runner]]


@dataclass(frozen=True, slots=True)
class Contender:
    """`open` gives a runner for so many calls of a provider, with this lease if it has one."""

    name: str
    open: Open
    in_threads: bool = False


class _Ours:
    def __init__(self, m: Mill, calls: int) -> None:
        self._mill = m
        self._calls = calls

    async def ask(self) -> None:
        await self._mill.ask(self._calls)

    async def start(self) -> None:
        self._mill.start_worker()

    def kill(self) -> None:
        self._mill.scene.workers.pop().kill()

    def rss_bytes(self) -> int:
        return self._mill.scene.workers[0].rss_bytes()


class _Threads:
    def __init__(self, scene: Stage, calls: int) -> None:
        self._scene = scene
        self._calls = calls

    async def ask(self) -> None:
        await self._scene.client.enqueue([Work(number) for number in range(self._calls)])

    async def start(self) -> None:
        self._scene.start_worker(blocking.THREADS)

    def kill(self) -> None:
        self._scene.workers.pop().kill()

    def rss_bytes(self) -> int:
        return self._scene.workers[0].rss_bytes()


class _Script:
    def __init__(self, directory: Path, base_url: str, calls: int, stack: AsyncExitStack) -> None:
        self._requests = directory / "requests.jsonl"
        self._calls = calls
        self._words = self._requests, directory / "results.jsonl", base_url, RPM, TPM
        self._stack = stack
        self._child: Reporter | None = None

    async def ask(self) -> None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}
        lines = (json.dumps({"id": number, "body": body}) + "\n" for number in range(self._calls))
        self._requests.write_text("".join(lines))

    async def start(self) -> None:
        self._child = await self._stack.enter_async_context(reporter(f"{__package__}.script", *self._words))

    def kill(self) -> None:
        assert self._child is not None
        self._child.kill()

    def rss_bytes(self) -> int:
        assert self._child is not None
        return self._child.rss_bytes()


@asynccontextmanager
async def _ours(simulated: Provider, calls: int, lease_s: float) -> AsyncIterator[Runner]:
    async with mill_beside(simulated, max_jobs=MAX_JOBS, lease_s=lease_s) as m:
        yield _Ours(m, calls)


def _threads(
    make: Callable[[str], System],
) -> Open:
    @asynccontextmanager
    async def opened(simulated: Provider, calls: int, _lease_s: float) -> AsyncIterator[Runner]:
        async with stage(make(simulated.base_url), jobs=1) as scene:
            yield _Threads(scene, calls)

    return opened


@asynccontextmanager
async def _script(simulated: Provider, calls: int, _lease_s: float) -> AsyncIterator[Runner]:
    with TemporaryDirectory(prefix="bench-") as directory:
        async with AsyncExitStack() as stack:
            yield _Script(Path(directory), simulated.base_url, calls, stack)


CONTENDERS = (
    Contender("promptmill, one worker process", _ours),
    Contender("script, one loop and no queue", _script),
    Contender(f"celery, {blocking.THREADS} threads", _threads(blocking.celery), in_threads=True),
    Contender(f"dramatiq, {blocking.THREADS} threads", _threads(blocking.dramatiq), in_threads=True),
)
