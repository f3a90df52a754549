"""A lock on a file, held by one process at a time on this machine. Needs Unix."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


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
