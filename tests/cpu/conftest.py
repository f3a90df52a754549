"""A worker for LLM calls and one for CPU jobs, shared by the tests that do not stop theirs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.wire.keys import KEYS
from tests.conftest import Server, wait_until
from tests.worker.fixtures import _shared_processes, _shared_server
from tests.worker.processes import READY, Process, Processes

__all__ = ["_shared_processes", "_shared_server"]

MODULE = Path(__file__).with_name("given_cpu_jobs.py")
CPU_READY = " processes for CPU jobs: "


@dataclass
class Fleet:
    """Workers that know given_cpu_jobs.py; `told` is where its jobs write."""

    processes: Processes
    llm: Process | None = None
    cpu: Process | None = None

    @property
    def told(self) -> Path:
        return self.processes.directory

    def start(self, named: str, server: Server, **settings: str) -> Process:
        shutil.copy(MODULE, self.told)
        defaults = {"JOB_MODULES": MODULE.stem, "TOLD": str(self.told), "CPU_PROCESSES": "2", "LEASE_S": "1"}
        return self.processes.arq(named=f"worker.{named}", **{**defaults, **settings}, REDIS_URL=server.url)

    async def begun(self, name: str) -> tuple[int, int]:
        """The id of the process that has written down that it runs `name`, and of its worker."""
        path = self.told / name
        await wait_until(lambda: path.exists() and path.read_text()[-1:] == "\n", description=f"{name} runs")
        pid, worker = path.read_text().split()
        return int(pid), int(worker)


@pytest.fixture(scope="session")
def _shared_fleet(_shared_processes: Processes) -> Fleet:
    return Fleet(_shared_processes)


@pytest.fixture
def server(server: Server) -> Iterator[Server]:
    yield server
    with server.client() as client:  # lanes stay there until their next look
        client.delete(KEYS.lanes, KEYS.cpu_lanes)


@pytest.fixture
async def fleet(_shared_fleet: Fleet, server: Server) -> Fleet:
    """One worker for LLM calls and one with two processes for CPU jobs, both ready."""
    fleet = _shared_fleet
    if fleet.llm is None or fleet.cpu is None:
        fleet.llm = fleet.start("WorkerSettings", server)
        fleet.cpu = fleet.start("CpuWorkerSettings", server)
        await fleet.llm.wrote(READY)
        await fleet.cpu.wrote(CPU_READY)
    return fleet


async def gone(pid: int) -> None:
    """Returns once there is no such process; one that nobody has waited for counts as gone."""
    await wait_until(lambda: not _alive(pid), description=f"process {pid} has ended", timeout_s=5)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or ") Z " not in status.read_text()
    except (ProcessLookupError, FileNotFoundError):  # it may go between two looks
        return False
