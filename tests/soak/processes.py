"""One process of the soak's. It is killed when the soak ends, in whatever way that ends."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

from tests.worker import processes as started

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class Process(started.Process):
    """A process in a session of its own, its output in a file; what is done to one that has ended does nothing."""

    async def ends(self, within_s: float) -> bool:
        """Whether it has ended by then."""
        deadline_s = monotonic() + within_s
        while self.alive and monotonic() < deadline_s:  # noqa: ASYNC110  waitpid has no event
            await asyncio.sleep(0.02)
        return not self.alive


def start(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Process:
    """A process that knows nothing of the developer's settings."""
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            cwd=log.parent,
            env={**started.environment(), **env},
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
