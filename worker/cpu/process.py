"""One child, as its worker sees it: started, asked, killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from arq import Retry

from client import decode
from client.errors import JobError, JobFailed, ProcessDied

from . import frames

START_LIMIT_S = 60  # for importing JOB_MODULES; large libraries take their time

# With the worker's own sys.path, so that JOB_MODULES are the same modules in both; -P keeps "" out of it.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path']; "
    "from worker.cpu.child import main; main()"
)


class ChildUnusable(Exception):
    """A child could not be started. One sentence; its reason is in the log."""


class CpuProcess:
    """A process that runs a job at a time. It leads a group of its own, so what a job starts ends with it."""

    def __init__(self, process: Process, memory_mb: int) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests, self._replies = process.stdin, process.stdout
        self._memory_mb = memory_mb
        self.usable = True  # it waits for a job, and nothing is wrong with it

    @classmethod
    async def start(cls, modules: Sequence[str], memory_mb: int) -> CpuProcess:
        """A child that is ready. Raises ChildUnusable; cancelling leaves none behind."""
        given = json.dumps({"path": sys.path, "modules": list(modules), "memory_mb": memory_mb})
        command = (sys.executable, "-P", "-c", _BOOT, given)
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, start_new_session=True
            )
        except OSError as error:
            reason = error.strerror or error
            raise ChildUnusable(f"A process for CPU jobs cannot be started: {reason}.") from None
        child = cls(process, memory_mb)
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await child._greeted()
        except BaseException as error:
            child.kill()
            await child.ended()
            if isinstance(error, TimeoutError):
                raise ChildUnusable(
                    f"A process for CPU jobs was not ready after {START_LIMIT_S} s."
                ) from None
            raise
        return child

    async def _greeted(self) -> None:
        try:
            await self._replies.readuntil(frames.HELLO)
        except asyncio.IncompleteReadError:
            ending = _ending(await self._process.wait())
            raise ChildUnusable(f"A process for CPU jobs {ending} before it was ready.") from None
        except asyncio.LimitOverrunError:
            raise ChildUnusable("A process for CPU jobs floods its pipe before it is ready.") from None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def compute(self, call: dict[str, Any]) -> Any:
        """What the job returns. Raises what it raised as a JobError, arq's Retry, ProcessDied.

        Whoever cancels it must kill the child: it goes on.
        """
        self.usable = False
        try:
            self._requests.write(frames.frame(call))
            await self._requests.drain()
            length = await self._replies.readexactly(frames.LENGTH_BYTES)
            reply = decode(await self._replies.readexactly(int.from_bytes(length, "big")))
        except (asyncio.IncompleteReadError, ConnectionError):
            ending = _ending(await self._process.wait())
            raise ProcessDied(f"The process that ran the job {ending} in the middle of it.") from None
        if reply.get("spent"):
            cap = f"; CPU_MEMORY_MB is {self._memory_mb}" if self._memory_mb else ""
            raise ProcessDied(f"The job ran out of memory{cap}.", error_type=MemoryError.__name__)
        self.usable = True
        return _result(reply)

    def dismiss(self) -> None:
        """Tells an idle child to end by itself."""
        self._requests.close()

    def kill(self) -> None:
        """Kills it and whatever its job has started. Idempotent."""
        self.usable = False
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def ended(self) -> None:
        """Returns when it has ended, and ends what its job left behind."""
        await self._process.wait()
        self.kill()


def _result(reply: dict[str, Any]) -> Any:
    if "again_ms" in reply:
        raise Retry(defer=reply["again_ms"] / 1000)
    result = reply["r"]
    if not reply.get("failed"):
        return result
    raise result if isinstance(result, JobError) else JobFailed(str(result))


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended itself with status {code}"
    name = signal.Signals(-code).name
    hint = " (the system kills so when memory runs out)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
