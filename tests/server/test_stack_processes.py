"""The worker and the simulator of a private stack, with a stand-in for the worker."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from promptmill.cli.stack import StackError, is_simulated, open_stack, processes
from promptmill.cli.stack.data_dir import prepare_data_dir
from promptmill.cli.stack.embedded import find_server
from promptmill.cli.stack.ownership import read_record
from settings import Settings
from tests.conftest import wait_until

try:
    find_server()
except StackError as error:
    pytest.skip(str(error), allow_module_level=True)

# shows its health once the server is up, writes its pid down, and notes that it was told to stop
WORKER = """
import os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.environ["REDIS_URL"].removeprefix("unix://"))
    server.sendall(b"SET worker:pid %d\\r\\nSET arq:queue:health-check fine\\r\\n" % os.getpid())
    server.recv(99)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.sigwait([signal.SIGTERM])
    server.sendall(b"INCR worker:stopped\\r\\n")
    server.recv(99)
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("REDIS_URL", raising=False)
    return Settings(_env_file=None, data_dir=str(tmp_path / "data"))


@pytest.fixture
def worker_is(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    real = processes._python

    def install(script: str) -> None:
        stand_in = [sys.executable, "-c", script]
        monkeypatch.setattr(processes, "_python", lambda name: stand_in if name == "arq" else real(name))

    return install


async def worker_pid(socket: Path) -> int:
    reader, writer = await asyncio.open_unix_connection(socket)
    writer.write(b"GET worker:pid\r\n")
    await reader.readline()
    pid = int(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return pid


async def test_a_worker_is_ready_when_the_stack_is_and_is_told_to_stop_before_the_server(
    settings: Settings, worker_is: Callable[[str], None]
) -> None:
    worker_is(WORKER)
    data_dir = prepare_data_dir(settings.data_dir)
    async with open_stack(settings, worker=True, max_jobs=7) as stack:
        assert await data_dir.ask_server("EXISTS arq:queue:health-check") == ":1"
        assert stack.settings.max_jobs == 7
        record = read_record(data_dir)
        assert record is not None
        assert (record.owner, record.worker, record.ready) == ("run", True, True)
    async with open_stack(settings, worker=False):
        assert await data_dir.ask_server("STRLEN worker:stopped") == ":1"


async def test_the_health_of_a_killed_worker_is_not_taken_for_a_new_ones(
    settings: Settings, worker_is: Callable[[str], None]
) -> None:
    data_dir = prepare_data_dir(settings.data_dir)
    async with open_stack(settings, worker=False):
        await data_dir.ask_server("SET arq:queue:health-check stale")
    worker_is("raise SystemExit('OPENAI_API_KEY is missing.')")
    with pytest.raises(
        StackError, match=r"The worker stopped: OPENAI_API_KEY is missing\. \(more in .*worker.log"
    ):
        async with open_stack(settings, worker=True):
            pytest.fail("it was opened without a worker")


async def test_a_worker_that_dies_ends_the_block_that_relies_on_it(
    settings: Settings, worker_is: Callable[[str], None]
) -> None:
    worker_is(WORKER)
    data_dir = prepare_data_dir(settings.data_dir)

    async def rely_on_it() -> None:
        async with open_stack(settings, worker=True):
            os.kill(await worker_pid(data_dir.socket), signal.SIGKILL)
            await asyncio.Event().wait()

    with pytest.raises(StackError, match="The worker stopped: it was killed by signal 9"):
        await rely_on_it()
    assert await data_dir.ask_server("PING") is None


async def test_up_starts_a_dead_worker_again_and_says_so(
    settings: Settings, worker_is: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptmill.cli.stack.watch.FIRST_BACKOFF_S", 0.01)
    worker_is(WORKER)
    said: list[str] = []
    data_dir = prepare_data_dir(settings.data_dir)
    async with open_stack(settings, worker=True, owner="up", say=said.append):
        first = await worker_pid(data_dir.socket)
        os.kill(first, signal.SIGKILL)

        async def is_another() -> bool:
            return await worker_pid(data_dir.socket) != first

        await wait_until(is_another, description="another worker")
    assert "started again in 0.01 s" in said[0]


async def test_another_command_is_served_by_the_worker_of_up(
    settings: Settings, worker_is: Callable[[str], None]
) -> None:
    worker_is(WORKER)
    async with open_stack(settings, worker=True, owner="up") as up:
        worker_is("raise SystemExit('a second worker was started')")
        async with open_stack(settings, worker=True, owner="run") as stack:
            assert (stack.kind, stack.redis_url) == ("attached", up.redis_url)
        assert await prepare_data_dir(settings.data_dir).ask_server("PING") == "+PONG"


async def test_a_second_run_is_refused_with_the_pid_of_the_first(
    settings: Settings, worker_is: Callable[[str], None]
) -> None:
    worker_is(WORKER)
    async with open_stack(settings, worker=True):
        with pytest.raises(StackError, match=rf"`promptmill run` \(process {os.getpid()}\)"):
            async with open_stack(settings, worker=True):
                pytest.fail("two runs share a data directory")
        async with open_stack(settings, worker=False, owner="stats") as look:
            assert look.kind == "attached"


async def test_a_cancelled_block_stops_everything_and_stays_cancelled(
    settings: Settings, worker_is: Callable[[str], None]
) -> None:
    worker_is(WORKER)
    data_dir = prepare_data_dir(settings.data_dir)
    opened = asyncio.Event()

    async def hold() -> None:
        async with open_stack(settings, worker=True):
            opened.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await opened.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await data_dir.ask_server("PING") is None


async def test_a_simulated_stack_has_every_provider_at_the_simulator(settings: Settings) -> None:
    assert not is_simulated(settings)
    async with open_stack(settings, worker=False, simulate=True) as stack:
        assert is_simulated(settings)  # so that a run beside it needs no key
        url = stack.settings.openai_base_url
        assert url.startswith("http://127.0.0.1:")
        assert f"{stack.settings.anthropic_base_url}/v1" == url
        root = url.removesuffix("/v1")
        answer = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{root}/config").read())
        assert b"latency_s" in answer
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(root.rpartition(":")[2]))
