"""Where a private stack lives: its data directory, and the socket of its server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shlex
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .stack import StackError

REPLY_TIMEOUT_S = 1
SOCKET_PATH_LIMIT_BYTES = 100  # the kernel takes 104 (macOS) to 108 (Linux), the closing NUL included

_PRIVATE_DIR = 0o700
_ANOTHER = "set PROMPTMILL_DATA_DIR to a directory of yours alone"
_PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)  # arq's own reader of URLs does not unquote a path


@dataclass(frozen=True)
class DataDir:
    """The files of one private stack."""

    path: Path
    socket: Path

    @property
    def url(self) -> str:
        """The server's URL; it holds no secret."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def lock(self) -> Path:
        """Held by the stack's owner for its lifetime."""
        return self.path / "lock"

    @property
    def server_lock(self) -> Path:
        """Held by the server process itself, for as long as it lives; its text is the server's pid."""
        return self.path / "server.lock"

    @property
    def record(self) -> Path:
        """Who owns the stack, as JSON."""
        return self.path / "stack.json"

    def log(self, name: str) -> Path:
        """The log of the process of that name."""
        return self.path / f"{name}.log"

    async def ask_server(self, command: str) -> str | None:
        """The first line of the server's reply to a command without spaces in its words, as in RESP (`+PONG`, `:1`,
        `-LOADING …`); None where nobody replies within a second. It needs no client library, so it is quick."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self.socket)
                try:
                    writer.write(f"{command}\r\n".encode())
                    return (await reader.readline()).decode().rstrip() or None
                finally:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()
        return None


def prepare_data_dir(data_dir: str) -> DataDir:
    """That data directory and the one of its socket, made (0700) where they do not exist.

    Raises StackError where one of them is not ours alone."""
    path = _checked(Path(os.path.abspath(Path(data_dir).expanduser())))
    return DataDir(path, _socket_path(path))


def _socket_path(data_dir: Path) -> Path:
    path = data_dir / "server.sock"
    if _fits(path):
        return path
    name = f"promptmill-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]}"
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108  the directory below is checked
        path = parent / name / "server.sock"
        if _fits(path):
            return _checked(path.parent) / path.name
    raise StackError(
        "No path is short enough for the server's socket: set PROMPTMILL_DATA_DIR to a short one."
    )


def _fits(path: Path) -> bool:
    short = len(os.fsencode(path)) <= SOCKET_PATH_LIMIT_BYTES
    return short and _PLAIN_PATH.fullmatch(str(path)) is not None


def _checked(directory: Path) -> Path:
    """The directory, made where missing. Refused unless it and all in it are ours alone: what another user, or
    an archive, has put there would be read, or written through."""
    try:
        directory.mkdir(mode=_PRIVATE_DIR, parents=True, exist_ok=True)
        found, inside = directory.lstat(), list(os.scandir(directory))
    except OSError as error:
        raise StackError(f"{directory} cannot be used ({error.strerror}): {_ANOTHER}.") from None
    if not _is_ours(found):
        raise StackError(f"{directory} is a symbolic link, or belongs to another user: {_ANOTHER}.")
    if stat.S_IMODE(found.st_mode) & 0o077:
        private = f"run `chmod 700 {shlex.quote(str(directory))}`"
        raise StackError(f"Others may use {directory}: {private}, or {_ANOTHER}.")
    for entry in inside:
        with suppress(FileNotFoundError):  # a socket or a record that is gone by now
            if not _is_ours(entry.stat(follow_symlinks=False)):
                why = "is a symbolic link, or belongs to another user"
                raise StackError(f"{entry.path} {why}: remove it, or {_ANOTHER}.")
    return directory


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid == os.getuid() and not stat.S_ISLNK(found.st_mode)
