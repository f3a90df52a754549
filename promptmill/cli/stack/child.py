"""One child process: started, waited for, stopped in order, its last words kept."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic

from .stack import StackError

HURRY_S = 3.0  # for a process that was told a second time
POLL_S = 0.01  # how often a child's end is looked for while something waits for it
LOG_LIMIT_BYTES = 10_000_000  # a longer log is put aside as {log}.1 at the next start

_TAIL_BYTES = 8_192
# what Valkey and Redis write before a line
_SERVER_PREFIX = re.compile(r"^\d+:\S+ \d+ \w+ \d{4} [\d:.]+ [.*#-] ")
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class ChildProcess:
    """A process of ours, in a session of its own: the terminal's Ctrl-C does not reach it."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, log_start_bytes: int) -> None:
        self.name = name
        self.started_at_s = monotonic()
        self._process = process
        self._log = log
        self._log_start_bytes = log_start_bytes

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def log_text(self) -> str:
        """The end of what it wrote since it started."""
        with suppress(OSError), self._log.open("rb") as file:
            file.seek(max(self._log_start_bytes, self._log.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
        return ""

    def obituary(self) -> StackError:
        """Why it ended: its last line, and where the others are."""
        lines = [line for line in self.log_text().splitlines() if line.strip()]
        last = _SERVER_PREFIX.sub("", lines[-1]).strip() if lines else self._ending()
        return StackError(f"The {self.name} stopped: {last} (more in {self._log}).")

    async def until(self, is_ready: Callable[[], Awaitable[bool]], limit_s: float) -> None:
        """Returns once `is_ready` says so. Raises StackError where it ends before, or `limit_s` seconds pass."""
        deadline = monotonic() + limit_s
        while not await is_ready():
            if not self.alive:
                raise self.obituary()
            if monotonic() > deadline:
                raise StackError(f"The {self.name} is not ready after {limit_s:g} s; see {self._log}.")
            await asyncio.sleep(POLL_S)

    async def stop(self, grace_s: float) -> None:
        """TERM, and KILL after `grace_s` seconds. Cancelled, it is told a second time, and gets HURRY_S: a worker then
        hands back what it has not finished. Idempotent."""
        try:
            await self._told_to_stop(grace_s)
        except asyncio.CancelledError:
            await self._told_to_stop(HURRY_S)
            raise
        finally:
            self.kill()

    async def _told_to_stop(self, grace_s: float) -> None:
        """Sends TERM; returns when it has ended, or after `grace_s` seconds."""
        if self.alive:
            self._process.terminate()
        deadline = monotonic() + grace_s
        while self.alive and monotonic() < deadline:  # noqa: ASYNC110  waitpid has no event
            await asyncio.sleep(POLL_S)

    def kill(self) -> None:
        """KILL, its own children too, and wait for its end. Idempotent."""
        if self.alive:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def _ending(self) -> str:
        code = self._process.returncode
        return f"it was killed by signal {-code}" if code and code < 0 else f"it ended with status {code}"


def start_child(
    name: str,
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> ChildProcess:
    """Starts the command with its output appended to `log`. Raises StackError where it cannot be run.

    On Linux it is sent TERM when we end, in whatever way; elsewhere the next start finds what we left.
    """
    try:
        start = _make_room(log)
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  the command is ours
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=pass_fds,
                preexec_fn=_ends_with_its_parent(),  # noqa: PLW1509  it takes no lock
            )
    except OSError as error:
        raise StackError(f"The {name} cannot be started: {error.strerror or error}.") from None
    return ChildProcess(name, process, log, start)


def _make_room(log: Path) -> int:
    size = log.stat().st_size if log.exists() else 0
    if size <= LOG_LIMIT_BYTES:
        return size
    log.replace(log.with_name(f"{log.name}.1"))
    return 0


def _ends_with_its_parent() -> Callable[[], None] | None:
    """What runs in the child between fork and exec; everything it needs is looked up before the fork."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before we asked to be told
            os._exit(1)

    return die_with_parent
