"""`OUT.run`: the lock of a run and the name under which its jobs wait in Redis.

The same run id gives the same job ids, so a run that was killed finds its jobs again: none is lost,
none is paid for twice. The file is removed when every line has its answer or its error.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from promptmill.cli.lock import Lock

from .options import InputError

RUN_ID_BYTES = 8  # of randomness in a run id


class Sidecar:
    """Held from `open` to `close`; meanwhile no other run can open it, on this machine."""

    def __init__(self, path: Path, lock: Lock, fields: dict[str, Any], age_s: float | None) -> None:
        self.path = path
        self.age_s = age_s  # seconds since the interrupted run was last alive; None for a new run
        self.is_unused = age_s is None  # nothing has been sent under it
        self.run_id: str = fields["run_id"]
        self._lock = lock

    @classmethod
    def open(cls, path: Path, input_name: str, namespace: str = "") -> Sidecar:
        """Locks `path` and reads or begins it. Raises InputError where another run holds it, or where its jobs are in
        another namespace: here they would be sent, and paid for, again."""
        try:
            lock = Lock.attempt(path, 0o666)
            if lock is None:
                name = path.name.removesuffix(".run")
                raise InputError(f"Another run is writing {name}: wait for it, or name another output.")
            try:
                fields, age_s = _read(lock.fd)
                if fields is None:
                    fields, age_s = _begin(lock.fd, input_name, namespace), None
                if (theirs := str(fields.get("namespace", ""))) != namespace:
                    raise InputError(_elsewhere(path, theirs))
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
        return cls(path, lock, fields, age_s)

    def touch(self) -> None:
        """Says that the run is alive: what it has in Redis is no older than this."""
        self.is_unused = False
        os.utime(self._lock.fd)

    def remove(self) -> None:
        """Nothing is left to resume. The lock is held until `close`."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        self._lock.release()


def _elsewhere(path: Path, namespace: str) -> str:
    where = f"the namespace {namespace!r}" if namespace else "no namespace"
    return (
        f"{path.name} is of a run whose jobs are in {where}, unlike REDIS_URL: resume it there, or remove that "
        "file and send all that is not answered again."
    )


def _read(fd: int) -> tuple[dict[str, Any] | None, float | None]:
    status = os.fstat(fd)
    try:
        fields = json.loads(os.pread(fd, status.st_size, 0))
    except ValueError:  # new, or killed before its first line was whole: nothing was sent under it
        return None, None
    known = isinstance(fields, dict) and isinstance(fields.get("run_id"), str)
    return (fields, max(0.0, time.time() - status.st_mtime)) if known else (None, None)


def _begin(fd: int, input_name: str, namespace: str) -> dict[str, Any]:
    fields = {
        "run_id": secrets.token_hex(RUN_ID_BYTES),
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "input": input_name,
        **({"namespace": namespace} if namespace else {}),
    }
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(fields).encode() + b"\n", 0)
    os.fsync(fd)
    return fields
