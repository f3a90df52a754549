"""One process of the soak's. It is killed when the soak ends, in whatever way that ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parents[2]

_INHERITED = ("HOME", "LANG", "TMPDIR", "PATH")
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@dataclass
class Process:
    """A process in a session of its own, its output in a file."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def send(self, signum: signal.Signals) -> None:
        """Nothing where it has ended."""
        with suppress(ProcessLookupError):
            self.popen.send_signal(signum)

    def kill(self) -> None:
        """Stopped or not. Idempotent."""
        self.send(signal.SIGKILL)
        self.popen.wait(10)

    async def ended(self, within_s: float) -> bool:
        """Whether it has ended by then."""
        deadline_s = monotonic() + within_s
        while self.alive and monotonic() < deadline_s:  # noqa: ASYNC110  waitpid has no event
            await asyncio.sleep(0.02)
        return not self.alive


def start(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Process:
    """A process that knows nothing of the developer's settings."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            cwd=log.parent,
            env={**inherited, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_DIE_WITH_PARENT,  # noqa: PLW1509  it takes no lock
        )
    return Process(popen, log)


def _die_with_parent() -> None:
    """KILL, as TERM does not end a process that is stopped."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_LIBC = ctypes.CDLL(None)  # looked up before the fork
_DIE_WITH_PARENT = _die_with_parent if sys.platform == "linux" else None
