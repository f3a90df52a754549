"""A lock on a file, held by one process at a time on this machine. Needs Unix."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path


def has_open(pid: int, path: Path) -> bool:
    """Whether that process is of our user and has the file open, as whoever holds a lock on it has."""
    if not Path("/proc/self/fd").exists():  # macOS
        lsof = shutil.which("lsof", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        listed = subprocess.run([lsof, "-t", "--", path], capture_output=True, check=False) if lsof else None  # noqa: S603
        return listed is not None and str(pid).encode() in listed.stdout.split()
    wanted, process = path.stat(), Path(f"/proc/{pid}")
    with suppress(OSError):
        return process.stat().st_uid == os.getuid() and any(
            _is_file(descriptor, wanted) for descriptor in (process / "fd").iterdir()
        )
    return False


def _is_file(descriptor: Path, wanted: os.stat_result) -> bool:
    with suppress(OSError):  # closed by now
        return os.path.samestat(descriptor.stat(), wanted)
    return False


class Lock:
    """Free again when its holder ends in whatever way."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def attempt(cls, path: Path, mode: int = 0o600) -> Lock | None:
        """The lock, or None where another process holds it. The file stays when the lock is released.

        Raises OSError where the file cannot be opened, or made with `mode`.
        """
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A holder that ended between our open and our lock may have removed what we now hold: look again
                if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
                    return cls(fd)
            except BlockingIOError:
                os.close(fd)
                return None
            except OSError:
                os.close(fd)
                raise
            os.close(fd)

    def release(self) -> None:
        """Idempotent. A child that inherited the descriptor goes on holding the lock."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
