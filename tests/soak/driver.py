"""Random faults against real processes for some minutes, and the record of all that happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from client import Queue
from tests.soak import aftermath
from tests.soak.faults import Faults
from tests.soak.fleet import Fleet
from tests.soak.plan import CALM_S, LEASE_S, Options
from tests.soak.producers import Producers
from tests.soak.provider import Provider
from tests.soak.readers import Readers
from tests.soak.record import Record
from tests.soak.servers import OneServer, Servers

SETTLE_S = 120.0  # for all jobs to end, once the provider is quick and well
READERS_S = 20.0  # for readers to end, once all jobs have
TROUBLE_S = 60.0  # that the last faults may last beyond their time

Say = Callable[[str], None]


async def soak(options: Options, say: Say) -> Record:
    """Everything is ended on the way out, whatever the way. `say` hears what goes on."""
    record = Record(options)
    with TemporaryDirectory(prefix="soak-") as directory:
        async with (
            _stage(record, Path(directory)) as stage,
            Queue.from_url(stage.servers.url) as queue,
            stage.servers.client() as redis,
        ):
            readers = Readers(record, stage.servers.url)
            try:
                await _fire(record, stage, Producers(record, queue, readers.follow), say)
                stage.provider.quick = True
                await aftermath.until_all_have_ended(record, redis, SETTLE_S)
                say(f"{len(record.jobs)} jobs, {len(record.calls)} calls; all is over")
                await readers.ended(READERS_S)
            finally:
                await readers.close()
            record.outcomes = await aftermath.outcomes(record, queue)
            await asyncio.sleep(LEASE_S + 1)  # slots of workers that were killed late end by themselves
            await stage.fleet.end_all()
            record.told_calls = await aftermath.told_calls(queue)
            record.leftovers = await aftermath.leftovers(redis)
    return record


@dataclass(frozen=True, slots=True)
class Stage:
    """A server, a provider and workers, up, and what can be done to them."""

    servers: Servers
    provider: Provider
    fleet: Fleet
    faults: Faults


@asynccontextmanager
async def _stage(record: Record, directory: Path) -> AsyncIterator[Stage]:
    servers = OneServer(directory)
    async with Provider(record, record.options.dice("provider")).up() as provider:
        try:
            await servers.start()
            fleet = Fleet(record, directory, servers.url, provider.base_url)
            async with _supervised(fleet):
                yield Stage(servers, provider, fleet, Faults(record, servers, fleet, provider))
        finally:
            servers.close()


@asynccontextmanager
async def _supervised(fleet: Fleet) -> AsyncIterator[None]:
    supervising: asyncio.Task[None] | None = None
    try:
        await fleet.start_all()
        supervising = asyncio.create_task(fleet.supervise())
        yield
    finally:
        if supervising is not None:  # or it would replace what is killed now
            supervising.cancel()
        fleet.close()


async def _fire(record: Record, stage: Stage, producers: Producers, say: Say) -> None:
    """The faults, then the calm. Jobs come all the time."""
    options = record.options
    record.started_s = monotonic()
    producing = asyncio.create_task(producers.run())
    try:
        say(f"faults for {options.time_s - CALM_S:.0f} s")
        async with asyncio.timeout(options.time_s + TROUBLE_S):
            await stage.faults.run()
        began_s, stage.provider.well = monotonic(), True
        say(f"{len(record.faults)} faults are over; calm for {CALM_S:.0f} s")
        await asyncio.wait([producing], timeout=CALM_S)
        record.calm_s = (began_s, monotonic())
        if producing.done():
            producing.result()
    finally:
        producing.cancel()
        with suppress(asyncio.CancelledError):
            await producing
        await producers.ended()
