"""The data directory is ours alone, and only the server that is in it is signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptmill.cli.lock import Lock, has_open
from promptmill.cli.stack import StackError, embedded, is_simulated
from promptmill.cli.stack.data_dir import prepare_data_dir
from settings import Settings

HOLDER = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print(flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds `server.lock`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "server.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    made = prepare_data_dir(str(tmp_path / "a" / "data"))
    assert made.path.stat().st_mode & 0o777 == 0o700
    assert prepare_data_dir(str(made.path)) == made


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755, 0o701])
def test_a_directory_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    with pytest.raises(StackError, match=r"Others may use .*data: run `chmod 700 .*PROMPTMILL_DATA_DIR"):
        prepare_data_dir(str(tmp_path / "data"))


def test_another_users_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: os.stat(tmp_path).st_uid + 1)
    with pytest.raises(StackError, match="belongs to another user: set PROMPTMILL_DATA_DIR"):
        prepare_data_dir(str(tmp_path))


def test_a_directory_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o700)
    (tmp_path / "data").symlink_to("elsewhere")
    with pytest.raises(StackError, match="is a symbolic link"):
        prepare_data_dir(str(tmp_path / "data"))


@pytest.mark.parametrize(
    "name", ["server.sock", "server.log", "worker.log", "stack.json", "lock", "server.lock"]
)
def test_nothing_in_it_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    data.mkdir(0o700)
    (data / name).symlink_to(tmp_path / "precious")
    with pytest.raises(StackError, match=f"{name} is a symbolic link.*remove it"):
        prepare_data_dir(str(data))
    with pytest.raises(StackError):
        is_simulated(Settings(_env_file=None, redis_url=None, data_dir=str(data)))
    assert not (tmp_path / "precious").exists()


def test_who_has_a_file_open_is_told_from_who_has_not(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    lock = tmp_path / "server.lock"
    assert has_open(holder.pid, lock)
    assert not any(has_open(pid, lock) for pid in (os.getpid(), 1, 0, -1, 2**22 + 1))


async def test_a_server_that_was_left_behind_is_ended(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "server.lock").write_text(str(holder.pid), encoding="ascii")
    lock = await embedded._end_leftover(prepare_data_dir(str(tmp_path)))
    lock.release()
    assert holder.wait() == -signal.SIGTERM


@pytest.mark.parametrize("stranger", ["another process", "-1", "0", "no number"])
async def test_no_other_process_is_signalled(
    tmp_path: Path, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, stranger: str
) -> None:
    monkeypatch.setattr(embedded, "STOP_LIMIT_S", 0.1)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it was signalled"))
    named = str(os.getpid()) if stranger == "another process" else stranger
    (tmp_path / "server.lock").write_text(named, encoding="ascii")
    with pytest.raises(StackError, match="cannot be stopped"):
        await embedded._end_leftover(prepare_data_dir(str(tmp_path)))
    assert holder.poll() is None
    assert Lock.attempt(tmp_path / "server.lock") is None
