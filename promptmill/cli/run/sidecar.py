"""`OUT.run`: the lock of a run and the name under which its jobs wait in Redis.

The same run id gives the same job ids, so a run that was killed finds its jobs again: none is lost,
none is paid for twice. The file is removed when every line has its answer or its error.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from .options import InputError

RUN_ID_BYTES = 8  # of randomness in a run id


class Sidecar:
    """Held from `open` to `close`; meanwhile no other run can open it, on this machine."""

    def __init__(self, path: Path, fd: int, fields: dict[str, Any], age_s: float | None) -> None:
        self.path = path
        self.age_s = age_s  # seconds since the interrupted run was last alive; None for a new run
        self.is_unused = age_s is None  # nothing has been sent under it
        self.run_id: str = fields["run_id"]
        self._fd = fd

    @classmethod
    def open(cls, path: Path, input_name: str) -> Sidecar:
        """Locks `path` and reads or begins it. Raises InputError where another run holds it."""
        try:
            fd = _lock(path)
            try:
                fields, age_s = _read(fd)
                if fields is None:
                    fields, age_s = _begin(fd, input_name), None
            except BaseException:
                os.close(fd)
                raise
        except BlockingIOError:
            raise InputError(
                f"Another run is writing {path.name.removesuffix('.run')}: wait for it, or name another output."
            ) from None
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
        return cls(path, fd, fields, age_s)

    def touch(self) -> None:
        """Says that the run is alive: what it has in Redis is no older than this."""
        self.is_unused = False
        os.utime(self._fd)

    def remove(self) -> None:
        """Nothing is left to resume. The lock is held until `close`."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._fd)


def _lock(path: Path) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A run that ended between our open and our lock has unlinked what we now hold: look again.
            if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        except OSError:
            os.close(fd)
            raise
        os.close(fd)


def _read(fd: int) -> tuple[dict[str, Any] | None, float | None]:
    status = os.fstat(fd)
    try:
        fields = json.loads(os.pread(fd, status.st_size, 0))
    except ValueError:  # new, or killed before its first line was whole: nothing was sent under it
        return None, None
    known = isinstance(fields, dict) and isinstance(fields.get("run_id"), str)
    return (fields, max(0.0, time.time() - status.st_mtime)) if known else (None, None)


def _begin(fd: int, input_name: str) -> dict[str, Any]:
    fields = {
        "run_id": secrets.token_hex(RUN_ID_BYTES),
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "input": input_name,
    }
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(fields).encode() + b"\n", 0)
    os.fsync(fd)
    return fields
