"""The one way to a server: the one REDIS_URL names, that of `promptmill up`, or a private one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from settings import Settings

from .stack import Stack, StackError


def is_simulated(settings: Settings) -> bool:
    """Whether `open_stack` would meet a running stack whose provider is simulated, so that no key is needed."""
    if settings.redis_url is not None or not Path(settings.data_dir).exists():
        return False
    from .data_dir import prepare_data_dir
    from .ownership import is_alive, read_record

    record = read_record(prepare_data_dir(settings.data_dir))
    return record is not None and record.simulate and is_alive(record.pid)


@asynccontextmanager
async def open_stack(
    settings: Settings,
    *,
    worker: bool,
    simulate: bool = False,
    max_jobs: int | None = None,
    owner: str = "run",
    say: Callable[[str], None] = lambda sentence: None,
) -> AsyncIterator[Stack]:
    """A stack for as long as the block lasts.

    Where REDIS_URL is set, that server, and nothing is started; but what is simulated never reaches
    it, as nobody may point a fleet's workers at a simulator. Else the stack of a running
    `promptmill up` on the same data directory, else one of our own: a private server, a worker where
    asked for, ready to work, and a simulated provider where asked for. What we started is stopped when
    the block ends, the worker first, with its drain; its data stays. Cancelling the stop kills.

    `owner` is the name of the command, told to whoever else wants the data directory; `up` restarts a
    dead worker and reports it through `say`. Raises StackError: nothing can be started, another
    command is using the directory, or, in the middle of the block, a process died.
    """
    if max_jobs is not None:
        settings = settings.model_copy(update={"max_jobs": max_jobs})
    if settings.redis_url is not None and not simulate:
        yield _given(settings, settings.redis_url, owner=owner)
        return
    async with _private(settings, worker=worker, simulate=simulate, owner=owner, say=say) as stack:
        yield stack


def _given(settings: Settings, url: SecretStr, *, owner: str) -> Stack:
    if owner == "up":
        raise StackError(
            "REDIS_URL is set: unset it to have a private stack, or start a worker with "
            "`arq worker.WorkerSettings`."
        )
    return Stack(url.get_secret_value(), settings, "given")


@asynccontextmanager
async def _private(
    settings: Settings, *, worker: bool, simulate: bool, owner: str, say: Callable[[str], None]
) -> AsyncIterator[Stack]:
    """Another command's, or one of our own."""
    # here, not above: the embedded server needs Unix, a server of one's own does not
    from .data_dir import prepare_data_dir
    from .ownership import OwnerRecord, own_or_attach
    from .private import private_stack

    data_dir = prepare_data_dir(settings.data_dir)
    claim = await own_or_attach(data_dir, worker=worker, simulate=simulate)
    if isinstance(claim, OwnerRecord):
        settings = settings.model_copy(update={"redis_url": SecretStr(claim.url)})
        yield Stack(claim.url, settings, "attached", claim.worker, claim.simulate, data_dir.path)
        return
    try:
        record = OwnerRecord(pid=os.getpid(), url=data_dir.url, owner=owner, worker=worker, simulate=simulate)
        async with private_stack(data_dir, settings, record, say=say) as stack:
            yield stack
    finally:
        claim.release()
