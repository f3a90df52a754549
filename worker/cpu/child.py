"""A process that computes: it imports JOB_MODULES once, then runs a job at a time until its pipe ends.

It ends with its worker, however that ends: on Linux the kernel kills it, elsewhere the end of the pipe tells.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, BinaryIO

from arq import Retry

from client.errors import Unserializable
from worker.registry import CpuFunction, JobModuleError, load

from . import frames

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    """Runs the child. `sys.argv[1]` is JSON: the modules, and the memory the process may have in MB."""
    given = json.loads(sys.argv[1])
    requests, replies = _take_pipes()
    _end_with_the_worker(requests, replies)
    limit_memory(given["memory_mb"])
    reader = _Reader(requests)
    reader.start()
    try:
        functions = {f.name: f.compute for f in load(given["modules"]) if isinstance(f, CpuFunction)}
    except JobModuleError as error:
        sys.exit(str(error))
    replies.write(frames.HELLO)
    replies.flush()
    while (call := reader.next()) is not None:
        replies.write(_reply(functions, call))
        replies.flush()


def limit_memory(memory_mb: int) -> None:
    """Allocations beyond it fail with MemoryError. 0 is no limit; see `can_limit_memory`."""
    if memory_mb and can_limit_memory():
        import resource

        # Not RLIMIT_AS: that counts every library that is mapped and every thread's reserve, too.
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb * 2**20, memory_mb * 2**20))


def can_limit_memory() -> bool:
    """Linux counts a process's private memory (since 4.7); other systems take the limit and ignore it."""
    return sys.platform == "linux"


class _Reader(threading.Thread):
    """Reads while a job runs, too: it would not notice the end of the pipe otherwise."""

    def __init__(self, pipe: BinaryIO) -> None:
        super().__init__(name="promptmill requests", daemon=True)
        self._pipe = pipe
        self._calls: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._busy = False

    def next(self) -> dict[str, Any] | None:
        """The next call, or None once the worker wants no more."""
        self._busy = False
        call = self._calls.get()
        self._busy = call is not None
        return call

    def run(self) -> None:
        while (call := frames.read(self._pipe)) is not None:
            self._calls.put(call)
        if self._busy:  # nobody will read what it computes
            os.killpg(0, signal.SIGKILL)
        self._calls.put(None)


def _reply(functions: Mapping[str, Callable[..., Any]], call: dict[str, Any]) -> bytes:
    try:
        compute = functions[call["f"]]
        first = (call["ctx"],) if _takes_ctx(compute) else ()
        return frames.frame({"r": compute(*first, *call["a"], **call["k"])})
    except Retry as again:
        return frames.frame({"again_ms": again.defer_score or 0})
    except MemoryError:
        return frames.frame({"spent": True})
    except BaseException as error:  # a job's SystemExit is the job's
        return _failure(error)


def _failure(error: BaseException) -> bytes:
    try:
        return frames.frame({"failed": True, "r": error})
    except Unserializable as cause:  # its words are no text, such as a file's name that is none
        return frames.frame({"failed": True, "r": cause})


def _takes_ctx(compute: Callable[..., Any]) -> bool:
    return next(iter(inspect.signature(compute).parameters), None) == "ctx"


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The worker's pipes, moved away from where jobs read and print: what they print goes to the log."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr  # a file's is not written line by line, and a kill would lose it
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def _end_with_the_worker(*pipes: BinaryIO) -> None:
    for told in (signal.SIGTERM, signal.SIGINT):  # platforms send them to every process; the worker decides
        signal.signal(told, _ignore)
    die_with_parent = _die_with_parent()
    die_with_parent()
    fds = [pipe.fileno() for pipe in pipes]
    nothing = os.open(os.devnull, os.O_RDWR)

    def after_fork() -> None:
        """A job's own processes end with it, and must not keep the pipes open."""
        die_with_parent()
        for fd in fds:
            os.dup2(nothing, fd)

    os.register_at_fork(after_in_child=after_fork)


def _ignore(signum: int, frame: object) -> None:
    """Unlike SIG_IGN it is not inherited by programs that a job starts."""


def _die_with_parent() -> Callable[[], object]:
    """Code that holds the GIL for minutes, such as a regular expression, lets no thread see the pipe's end."""
    if sys.platform != "linux":
        return lambda: None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
