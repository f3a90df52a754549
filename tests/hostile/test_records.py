"""Any value in any key: the worker lives, healthy jobs beside it end, and each reader gets a value or a typed error.

RECORDS=500 in the environment tries so many examples of each kind of key; a few are tried at each run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from client import Job, Queue
from client.wire.keys import KEYS
from promptmill.cli.stats import read_stats
from tests.conftest import Server
from tests.hostile.given_records import Fleet, decently, followed
from tests.hostile.strange_records import SUBJECTS, VICTIM, strange, types

RECORDS = int(os.environ.get("RECORDS", "0"))
SOME = settings(
    max_examples=RECORDS or 2,
    deadline=None,
    derandomize=not RECORDS,
    database=None,
    phases=[Phase.generate, Phase.shrink] if RECORDS else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)
KINDS = sorted(types())


def test_every_kind_of_key_is_tried() -> None:
    families = {kind for kind in types() if kind != "health" and callable(getattr(KEYS, kind))}
    assert families == set(SUBJECTS)


@pytest.fixture(scope="module")
def fleet(_shared_server: Server) -> Iterator[tuple[Fleet, asyncio.Runner]]:
    with asyncio.Runner() as runner:
        fleet = Fleet(_shared_server)
        runner.run(fleet.__aenter__())
        yield fleet, runner
        runner.run(fleet.__aexit__())
        with _shared_server.client() as client:
            client.flushall()


@pytest.mark.parametrize("kind", KINDS)
def test_no_record_ends_a_worker_or_holds_up_another_job(
    kind: str, fleet: tuple[Fleet, asyncio.Runner]
) -> None:
    room, runner = fleet

    async def one(data: st.DataObject) -> None:
        await room.begin()
        victims = await room.start_victims(running=data.draw(st.booleans(), "running"))
        healthy = await room.enqueue_healthy()
        await room.do(data.draw(strange(kind)))
        await room.serves(healthy)
        for job in victims:
            await decently(partial(job.abort, 0.5))

    @SOME
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        runner.run(one(data))

    holds()


def readers(queue: Queue, jobs: list[Job[Any]]) -> Iterator[Callable[[], Awaitable[Any]]]:
    """Whoever may look at records."""
    for job in jobs:
        yield from (job.info, job.status, partial(job.result, 0))
    yield from (queue.dead.latest, partial(queue.dead.get, VICTIM), partial(queue.dead.retry, [VICTIM]))
    yield from (queue.limits.list, queue.workers_alive, partial(read_stats, queue), queue.costs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_strange_record_fails_its_own_reader_alone(kind: str, fleet: tuple[Fleet, asyncio.Runner]) -> None:
    room, runner = fleet

    async def one(data: st.DataObject) -> None:
        await room.begin()
        victims = await room.start_victims(running=False)
        healthy = await room.enqueue_healthy()
        queue = room.queue
        waiting = [asyncio.create_task(decently(partial(job.result, 1))) for job in victims]
        reading = [asyncio.create_task(decently(partial(followed, job, 1))) for job in victims]
        whole = asyncio.create_task(followed(healthy[8]))
        try:
            for _ in range(2):
                await room.do(data.draw(strange(kind)))
                for ask in readers(queue, [queue.job(VICTIM), *victims, healthy[0], healthy[8]]):
                    await decently(ask)
            await room.serves(healthy)
            assert (await whole)[-1] == "done"
            for job in victims:
                await decently(partial(job.abort, 0.5))
            await asyncio.gather(*waiting, *reading)
        finally:  # the example may be given up in the middle: its readers are not the next one's
            for task in (*waiting, *reading, whole):
                task.cancel()
            await asyncio.gather(*waiting, *reading, whole, return_exceptions=True)

    @SOME
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        runner.run(one(data))

    holds()
