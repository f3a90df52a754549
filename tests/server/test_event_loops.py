"""One Queue in several event loops, threads and processes: each has connections of its own."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from client import Queue, QueueUnavailable
from client.limits.slots import SlotBlock
from client.session import Session
from tests.conftest import Server, wait_blocking
from tests.server.test_client_sync import finish

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _unclosed() -> Iterator[None]:
    """asyncio warns of what a loop that was closed had left open, as it should."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def in_another_loop(verb: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(verb(), 10))


def clients(server: Server) -> int:
    with server.client() as client:
        return len(client.client_list()) - 2  # this one, and that of the server's fixture


def test_every_door_works_in_one_loop_after_the_other(server: Server) -> None:
    queue = Queue.from_url(server.url)
    limits, job = queue.limits, queue.job("b")

    async def use() -> None:
        await asyncio.gather(*(queue.chat("hi", job_id=id_) for id_ in "ab"))
        waiting = [asyncio.create_task(queue.job("a").result()) for _ in range(3)]
        finish(server, "a")
        assert await asyncio.gather(*waiting) == ["a"] * 3
        async with limits.slot("gpu"):
            pass
        assert await job.status() == "queued"
        reading = asyncio.create_task(_kinds(job))
        assert await job.abort()
        assert await reading == ["error"]
        await queue.limits.set("gpu", concurrency=1)
        assert await limits.list("gpu")
        assert await queue.dead.count() == 0
        assert await queue.costs() == []
        await queue.forget(["a", "b"])

    for _ in range(3):
        in_another_loop(use)
    in_another_loop(queue.close)
    wait_blocking(lambda: clients(server) == 0, description="all connections end")


async def _kinds(job: Any) -> list[str]:
    return [event.kind async for event in job.stream()]


def test_a_slot_is_waited_for_in_one_loop_after_the_other(server: Server) -> None:
    queue = Queue.from_url(server.url)

    async def use() -> None:
        await queue.limits.set("gpu", concurrency=1)

        async def one() -> None:
            async with queue.limits.slot("gpu"):
                await asyncio.sleep(0)

        await asyncio.gather(*(one() for _ in range(5)))

    for _ in range(2):
        in_another_loop(use)
    in_another_loop(queue.close)


def test_a_slot_that_was_made_outside_of_any_loop_is_for_the_next_one(server: Server) -> None:
    queue = Queue.from_url(server.url)
    in_another_loop(lambda: queue.limits.set("gpu", concurrency=1))
    blocks = [queue.limits.slot("gpu") for _ in range(3)]

    async def use(block: SlotBlock) -> None:
        async with block:
            pass

    async def all_() -> None:
        await asyncio.gather(*map(use, blocks))

    in_another_loop(all_)
    in_another_loop(queue.close)


def test_the_connections_of_a_closed_loop_end_when_the_next_one_comes(server: Server) -> None:
    queue = Queue.from_url(server.url)
    for _ in range(5):
        in_another_loop(queue.ping)
        wait_blocking(lambda: clients(server) <= 1, description="those of the loops before end")
    in_another_loop(queue.close)


def test_loops_of_several_threads_use_it_at_once(server: Server) -> None:
    queue, failed = Queue.from_url(server.url), list[BaseException]()

    async def use() -> None:
        jobs = await queue.chat_many(["hi"] * 50)
        assert {await job.status() for job in jobs} == {"queued"}

    def work() -> None:
        try:
            asyncio.run(use())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    in_another_loop(queue.close)


async def test_closing_in_one_loop_ends_those_who_wait_in_another(server: Server) -> None:
    queue = Queue.from_url(server.url)
    await (await queue.chat("hi", job_id="a")).status()
    waiting = threading.Event()

    async def wait() -> None:
        task = asyncio.create_task(queue.job("a").result())
        await queue.ping()
        waiting.set()
        await task

    def work() -> None:
        with pytest.raises(QueueUnavailable, match="has been closed"):
            asyncio.run(wait())

    thread = asyncio.create_task(asyncio.to_thread(work))
    await asyncio.to_thread(waiting.wait, 5)
    await queue.close()
    await asyncio.wait_for(thread, 5)


async def test_a_queue_that_was_closed_stays_so_in_its_loop(server: Server) -> None:
    queue = Queue.from_url(server.url)
    await queue.chat("hi", job_id="a")
    await queue.close()
    with pytest.raises(QueueUnavailable, match="has been closed"):
        await queue.job("a").result(1)


def test_connections_that_were_handed_in_are_those_of_their_loop(server: Server) -> None:
    given = Session.from_url(server.url)
    queue = Queue(Session(given.redis, given.signals))
    in_another_loop(queue.ping)
    doors: list[Callable[[], Any]] = [
        queue.ping,
        lambda: queue.chat("hi"),
        queue.job("a").result,
        lambda: anext(queue.job("a").stream()),
        queue.limits.list,
        lambda: queue.limits.slot("gpu").enter(),
        queue.dead.count,
        queue.close,
    ]
    for door in doors:
        with pytest.raises(QueueUnavailable, match="belongs to another event loop"):
            in_another_loop(door)


FORKS = """
import asyncio, os, sys
from client import Queue

queue = Queue.from_url(sys.argv[1])

async def use(name):
    job = await queue.chat("hi", job_id=name)
    assert await job.status() == "queued"
    return len(await queue.session.redis.client_list())

loop = asyncio.new_event_loop()
before = loop.run_until_complete(use("parent"))
for name in ("first", "second"):
    if (child := os.fork()) == 0:
        assert asyncio.run(use(name)) > before  # over a connection of its own
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
for number in range(20):  # replies to the child's commands would come here
    loop.run_until_complete(use(f"parent {number}"))
loop.run_until_complete(queue.close())
"""


def test_a_forked_child_has_connections_of_its_own_and_leaves_the_parents_alone(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, server.url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
