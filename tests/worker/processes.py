"""Workers and simulators as real processes, started as anyone would start them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from promptmill.simulator import SimulatorConfig
from tests.conftest import wait_until

ROOT = Path(__file__).resolve().parents[2]
GIVEN_JOBS = Path(__file__).with_name("given_jobs.py")

OPENAI_KEY, ANTHROPIC_KEY = "sk-proj-A1b2C3d4E5f6G7h8", "sk-ant-I9j0K1l2M3n4O5p6"
REFUSED_KEY = "sk-invalid"  # the simulator answers it with 401
SECRETS = (OPENAI_KEY, ANTHROPIC_KEY, REFUSED_KEY)

READY = " jobs at once; "  # what a worker writes before it looks into the queue

_INHERITED = ("HOME", "LANG", "TMPDIR")
_END_S = 10  # a process that was killed is gone long before


@dataclass
class Process:
    """A process of a test's own, its output in a file."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def finished(self) -> int:
        """How many jobs ended well here, as it wrote with -v."""
        return len(re.findall(r"← \S+:\S+", self.text()))

    def send(self, signum: signal.Signals) -> None:
        self.popen.send_signal(signum)

    def terminate(self) -> None:
        self.popen.terminate()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(_END_S)

    async def ended(self, timeout_s: float = 10) -> int:
        """Its exit code, once it has ended by itself."""
        await wait_until(lambda: not self.alive, description="the process ends", timeout_s=timeout_s)
        return self.popen.returncode

    async def wrote(self, words: str, *, times: int = 1, timeout_s: float = 20) -> None:
        """Returns once `words` are in its output; fails at once where it ended without them."""
        await wait_until(
            lambda: self.text().count(words) >= times or not self.alive,
            description=f"{words!r} in the log",
            timeout_s=timeout_s,
        )
        assert self.text().count(words) >= times, self.text()


@dataclass
class Processes:
    """Starts processes in `directory` and ends them all."""

    directory: Path
    _all: list[Process] = field(default_factory=list)

    def start(
        self, command: Sequence[str | Path], env: dict[str, str], *, cwd: Path | None = None
    ) -> Process:
        log = self.directory / f"{len(self._all)}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command,
                cwd=cwd or self.directory,
                env=environment() | env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._all.append(Process(popen, log))
        return self._all[-1]

    def arq(self, *arguments: str, named: str = "worker.WorkerSettings", **settings: str) -> Process:
        """`arq worker.WorkerSettings -v` with these settings as its environment, ready or not."""
        return self.start([sys.executable, "-m", "arq", named, "-v", *arguments], settings)

    async def worker(self, *arguments: str, **settings: str) -> Process:
        """A worker that has said it is ready."""
        worker = self.arq(*arguments, **settings)
        await worker.wrote(READY)
        return worker

    async def informed_worker(self, **settings: str) -> Process:
        """A worker that knows given_jobs.py."""
        shutil.copy(GIVEN_JOBS, self.directory)
        worker = self.arq(JOB_MODULES="given_jobs", **settings)
        await worker.wrote(READY)
        return worker

    def end(self) -> None:
        for process in self._all:
            if process.alive:
                os.killpg(process.popen.pid, signal.SIGKILL)  # each leads a group of its own
                process.popen.wait(_END_S)


@contextmanager
def processes_in(directory: Path) -> Iterator[Processes]:
    processes = Processes(directory)
    try:
        yield processes
    finally:
        processes.end()


def environment() -> dict[str, str]:
    """Nothing of the developer's settings; the checkout need not be installed."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**inherited, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@dataclass
class Provider:
    """A simulator: what it is to do, and what really happened."""

    url: str

    def settings(self) -> dict[str, str]:
        """The environment of a worker whose every provider is this simulator."""
        base_url = f"{self.url}/v1"
        return {
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": OPENAI_KEY,
            "ANTHROPIC_BASE_URL": base_url,
            "ANTHROPIC_API_KEY": ANTHROPIC_KEY,
            "PROVIDERS__REFUSED__BASE_URL": base_url,
            "PROVIDERS__REFUSED__API_KEY": REFUSED_KEY,
            "PROVIDERS__KEYLESS__BASE_URL": base_url,
            "PROVIDERS__KEYLESS__NEEDS_KEY": "true",
        }

    async def configure(self, **changes: Any) -> None:
        async with _client() as client:
            (await client.patch(f"{self.url}/config", json=changes)).raise_for_status()

    async def reset(self) -> None:
        """As it was at the start: answers at once, no faults, nothing counted."""
        await self.configure(**DEFAULTS.model_dump())
        async with _client() as client:
            (await client.delete(f"{self.url}/stats")).raise_for_status()

    async def stats(self) -> dict[str, Any]:
        async with _client() as client:
            found: dict[str, Any] = (await client.get(f"{self.url}/stats")).json()
        return found

    async def counted(self, name: str, count: int, *, timeout_s: float = 15) -> None:
        """Returns once its count `name` (`faults.500` for one of a group) has come to `count`."""

        async def reached() -> bool:
            value: Any = await self.stats()
            for part in name.split(".", 1):
                value = value.get(part, 0)
            return bool(value >= count)

        await wait_until(reached, description=f"{name} >= {count} at the provider", timeout_s=timeout_s)


def _client() -> httpx.AsyncClient:
    """One that loads no certificates: they take longer than all the rest."""
    return httpx.AsyncClient(verify=False, trust_env=False)


DEFAULTS = SimulatorConfig(latency_s=0, latency_sigma=0)


def start_simulator(processes: Processes) -> Process:
    flags = ["--port", "0", "--latency-s", "0", "--latency-sigma", "0"]
    return processes.start([sys.executable, "-m", "promptmill.simulator", *flags], {})


async def provider_of(simulator: Process) -> Provider:
    await simulator.wrote("listening on http")
    match = re.search(r"http://\S+", simulator.text())
    assert match
    return Provider(match.group())
