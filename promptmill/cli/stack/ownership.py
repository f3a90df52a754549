"""Who owns a private stack: a lock held for the owner's lifetime, and a record of who it is.

The lock decides, the record only explains: a record beside a free lock is stale and ignored.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from time import monotonic
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from promptmill.cli.lock import Lock

from .data_dir import DataDir
from .stack import StackError

PATIENCE_S = 10  # how long a command waits for another that holds the stack for a moment
POLL_S = 0.02


class OwnerRecord(BaseModel):
    """What `stack.json` says. `ready` is false until every process of the stack is up."""

    model_config = ConfigDict(frozen=True)

    pid: int
    url: str
    owner: str
    worker: bool
    simulate: bool
    ready: bool = False


async def own_or_attach(data_dir: DataDir, *, worker: bool, simulate: bool) -> Lock | OwnerRecord:
    """The lock, which makes us the owner, or the record of an owner whose stack serves us too.

    Waits up to 10 s for an owner that is starting or here for a moment. Raises StackError.
    """
    deadline = monotonic() + PATIENCE_S
    while True:
        if lock := Lock.attempt(data_dir.lock):
            return lock
        record = read_record(data_dir)
        living = record is not None and is_alive(record.pid)
        if record and living and decide(record, worker=worker, simulate=simulate) == "attach":
            return record
        if monotonic() > deadline:
            holder = f"process {record.pid}" if record else "another process"
            raise StackError(
                f"{data_dir.path} is in use by {holder}: wait for it to end, or set another PROMPTMILL_DATA_DIR."
            )
        await asyncio.sleep(POLL_S)


def decide(record: OwnerRecord, *, worker: bool, simulate: bool) -> Literal["attach", "wait"]:
    """What a second process does about a living owner. Raises StackError where they cannot share."""
    if simulate and record.worker and not record.simulate:
        raise StackError(
            f"The stack of process {record.pid} calls the real providers: leave out --simulate, "
            "or set another PROMPTMILL_DATA_DIR."
        )
    shared = record.owner == "up" or not worker  # a look at another's stack needs no worker of ours
    if record.worker and not shared:
        raise StackError(
            f"`promptmill {record.owner}` (process {record.pid}) is using this data directory: wait for it to end, "
            "set another PROMPTMILL_DATA_DIR, or share one stack by starting `promptmill up`."
        )
    return "attach" if record.worker and record.ready else "wait"


def write_record(data_dir: DataDir, record: OwnerRecord) -> None:
    """Replaces the record in one step: a reader sees the old one or the new one."""
    beside = data_dir.record.with_suffix(".json.new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(record.model_dump_json())
    beside.replace(data_dir.record)


def read_record(data_dir: DataDir) -> OwnerRecord | None:
    """The record, or None where there is none that can be read."""
    with suppress(OSError, ValidationError):
        return OwnerRecord.model_validate_json(data_dir.record.read_bytes())
    return None


def remove_record(data_dir: DataDir) -> None:
    """Idempotent."""
    data_dir.record.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
