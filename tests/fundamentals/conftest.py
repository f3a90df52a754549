"""A whole stack of real processes for the examples (server, simulated provider, worker), or an engine in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from client.wire.keys import KEYS
from tests.conftest import Server, _binary, wait_blocking
from tests.engine.rig import Engines

ROOT = Path(__file__).resolve().parents[2]
READY_S = 20  # a process that is not ready by then never will be


# What each example needs of the extra `sdks`; without it, its test is skipped
SDK_EXAMPLES = {
    "openai_sdk": "openai",
    "anthropic_sdk": "anthropic",
    "langchain_chain": "langchain_openai",
}


def sdk_examples() -> list[str]:
    """The modules of those that can be imported."""
    return [f"examples.{name}" for name, package in SDK_EXAMPLES.items() if find_spec(package)]


@dataclass(frozen=True)
class LiveStack:
    """`environment` is what a service, a script or a worker of this stack is started with."""

    url: str
    environment: dict[str, str]
    directory: Path

    def run_python(self, *arguments: str) -> str:
        """What `python …` prints; it has to succeed."""
        command = [sys.executable, "-W", "error", *arguments]
        ended = subprocess.run(
            command, env=self.environment, cwd=self.directory, capture_output=True, text=True, timeout=30
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture
async def engines() -> AsyncIterator[Engines]:
    """Starts engines in this process."""
    engines = Engines()
    yield engines
    await engines.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """One stack for all of these tests, on a server of its own: that of `server` is emptied between tests."""
    directory = tmp_path_factory.mktemp("x")
    server = Server(directory, _binary())
    with ExitStack() as cleanup:
        server.start()
        cleanup.callback(server.stop)
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "REDIS_URL": server.url,
        }
        simulator_url = _start_simulator(directory, environment, cleanup)
        environment |= {
            "OPENAI_BASE_URL": f"{simulator_url}/v1",
            "OPENAI_API_KEY": "simulated",
            "DEFAULT_MODEL": "openai/gpt-4o-mini",
            "ANTHROPIC_BASE_URL": simulator_url,
            "ANTHROPIC_API_KEY": "simulated",
            "JOB_MODULES": ",".join(["examples.my_jobs", "examples.analyse", *sdk_examples()]),
        }
        worker = [str(Path(sys.executable).with_name("arq")), "worker.WorkerSettings"]
        log = _start(worker, directory, "worker", environment, cleanup)
        with server.client() as client:
            _until(lambda: bool(client.exists(KEYS.health(KEYS.queue))), log)
        yield LiveStack(server.url, environment, directory)


def _start_simulator(directory: Path, environment: dict[str, str], cleanup: ExitStack) -> str:
    command = [sys.executable, "-m", "promptmill.simulator", "--port", "0", "--latency-s", "0.05"]
    log = _start(command, directory, "simulator", environment, cleanup)
    _until(lambda: "listening on" in log.read_text(), log)
    return log.read_text().split("listening on ")[1].split()[0]


def _start(
    command: list[str], directory: Path, name: str, environment: dict[str, str], cleanup: ExitStack
) -> Path:
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )

    def stop() -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    cleanup.callback(stop)
    return log


def _until(predicate: Callable[[], bool], log: Path) -> None:
    try:
        wait_blocking(predicate, description=f"{log.stem} is ready", timeout_s=READY_S)
    except pytest.fail.Exception as failure:
        failure.add_note(log.read_text()[-2000:])
        raise
