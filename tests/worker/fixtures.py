"""Fixtures that tests/worker and tests/faults share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Server, _binary
from tests.worker.processes import Process, Processes, Provider, processes_in, provider_of, start_simulator


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes of this test's own, in a directory of its own; all are killed at its end."""
    with processes_in(tmp_path) as processes:
        yield processes


@pytest.fixture(scope="session")
def _shared_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with processes_in(tmp_path_factory.mktemp("shared")) as processes:
        yield processes


@pytest.fixture(scope="session")
def _shared_simulator(_shared_processes: Processes) -> Process:
    return start_simulator(_shared_processes)


@pytest.fixture
async def provider(_shared_simulator: Process) -> Provider:
    """The simulator that all tests share, one at a time: without faults, at once, nothing counted."""
    provider = await provider_of(_shared_simulator)
    await provider.reset()
    return provider


@pytest.fixture(scope="session")
def _shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `server` gives here: no other folder's, or the shared worker would take its jobs."""
    server = Server(tmp_path_factory.mktemp("w"), _binary())
    server.start()
    yield server
    server.stop()


@dataclass
class SharedWorker:
    """The one worker of the tests that do not stop theirs."""

    process: Process | None = None


@pytest.fixture(scope="session")
def _shared_worker() -> SharedWorker:
    return SharedWorker()


@pytest.fixture
async def worker(
    _shared_worker: SharedWorker, _shared_processes: Processes, server: Server, provider: Provider
) -> Process:
    """A live worker on `server` that knows given_jobs.py, with two tries and 1 s for each call."""
    if _shared_worker.process is None:
        _shared_worker.process = await _shared_processes.informed_worker(
            **provider.settings(),
            REDIS_URL=server.url,
            MAX_TRIES="2",
            REQUEST_TIMEOUT_S="1",
            RESULT_TTL_S="600",
        )
    assert _shared_worker.process.alive, _shared_worker.process.text()
    server.has_a_shared_worker = True
    return _shared_worker.process
