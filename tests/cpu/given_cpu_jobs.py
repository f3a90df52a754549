"""Jobs that compute, and some that should; tests copy this to a worker's working directory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from arq import Retry

from worker import job


def began(name: str) -> None:
    """Writes the ids of this process and of its worker down where the test looks for them."""
    Path(os.environ["TOLD"], name).write_text(f"{os.getpid()} {os.getppid()}\n")


@job(cpu=True)
def crunch(number: int, power: int = 2) -> int:
    return int(number**power)


@job(cpu=True)
def repeat(text: str, times: int) -> str:
    return text * times


@job(cpu=True)
def spin(name: str, seconds: float) -> str:
    began(name)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return name


@job(cpu=True)
def spin_until(name: str, gate: str) -> str:
    """Ends when there is a file named `gate`."""
    began(name)
    while not os.path.exists(gate):
        pass
    return name


@job(cpu=True)
def sleep(seconds: float) -> None:
    time.sleep(seconds)


@job(cpu=True, name="too-long", timeout_s=0.2)
def too_long(name: str) -> None:
    spin(name, 60)


@job(cpu=True)
def leaves_a_process(name: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(os.environ["TOLD"], name).write_text(f"{child.pid} {os.getppid()}\n")
    time.sleep(60)


@job(cpu=True)
def names_a_file_that_is_no_text() -> None:
    raise FileNotFoundError(os.fsdecode(b"caf\xe9"))


@job(cpu=True)
def exits() -> None:
    os._exit(3)


@job(cpu=True)
def faults() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(5)


@job(cpu=True)
def grows(megabytes: int) -> int:
    return len(bytearray(megabytes * 2**20))


@job(cpu=True)
def raises() -> None:
    raise LookupError("no document 7")


@job(cpu=True)
def not_json() -> object:
    return object()


@job(cpu=True)
def runs_again(ctx: dict[str, Any]) -> list[Any]:
    if ctx["job_try"] == 1:
        raise Retry(defer=0.01)
    return [ctx["job_id"], ctx["job_try"]]


@job(cpu=True)
def prints_and_reads() -> str:
    print("to the log", flush=True)
    return sys.stdin.read()


@job
async def waits(seconds: float = 0) -> float:
    await asyncio.sleep(seconds)
    return seconds


@job
async def blocks() -> None:
    time.sleep(0.25)  # noqa: ASYNC251


@job
async def blocks_in_a_task() -> None:
    await asyncio.create_task(sleeps())


async def sleeps() -> None:
    time.sleep(0.25)  # noqa: ASYNC251
