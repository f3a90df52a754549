"""SyncQueue: the same verbs from threads, forked processes and scripts."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from client import (
    DeadLetters,
    InvalidRedisURL,
    InvalidRequest,
    Job,
    Limits,
    Queue,
    QueueUnavailable,
    SyncDeadLetters,
    SyncJob,
    SyncLimits,
    SyncQueue,
    encode,
)
from tests.conftest import KEYS, Server, wait_blocking

ROOT = Path(__file__).parents[2]
# what holds the connection, and what a `with` has
NOT_SYNC = {"session", "__aenter__", "__aexit__", "__init__"}


@pytest.fixture
def mill(server: Server) -> Iterator[SyncQueue]:
    with SyncQueue(server.url) as mill:
        yield mill


def finish(server: Server, job_id: str) -> None:
    """What a worker does at the end of a job; it returns its own id."""
    record = {"t": 1, "f": "f", "a": [], "k": {}, "et": 1, "s": True, "r": job_id, "st": 1, "ft": 1}
    with server.client() as client:
        client.set(KEYS.result(job_id), encode(record), px=60_000)
        client.delete(KEYS.job(job_id))
        client.zrem(KEYS.lane("@chat"), job_id)
        client.publish(KEYS.done_channel(job_id), "")


def until_waited_for(server: Server, job_id: str) -> None:
    with server.client() as client:
        wait_blocking(
            lambda: bool(client.pubsub_channels(KEYS.done_channel(job_id))),
            description=f"somebody waits for {job_id}",
        )


def engines() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "promptmill"]


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_the_verbs_are_those_of_the_queue() -> None:
    assert public(SyncQueue) == (public(Queue) - NOT_SYNC) | {"call"}
    assert public(SyncJob) == public(Job) - {"id"}
    assert public(SyncLimits) == public(Limits) - {"under", "close", "seed"}
    assert public(SyncDeadLetters) == public(DeadLetters)
    for name in public(SyncQueue) & public(Queue):
        theirs, ours = getattr(Queue, name), getattr(SyncQueue, name)
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters), name


def test_every_verb_works_without_await(server: Server, mill: SyncQueue) -> None:
    mill.ping()
    assert not mill.workers_alive()
    job = mill.chat("hi", job_id="a")
    assert (job.id, repr(job), job.status()) == ("a", "<SyncJob a>", "queued")
    assert job.info().function == "chat"
    assert [many.id for many in mill.chat_many(["b", "c"], job_ids=["b", "c"])] == ["b", "c"]
    assert mill.embed("text", job_id="d").abort()
    assert [many.id for many in mill.embed_many(["e"], job_ids=["e"])] == ["e"]
    assert mill.enqueue("tidy", 1, _job_id="f").id == "f"
    finish(server, "a")
    assert job.result(5) == mill.job("a").result() == "a"
    mill.forget(["a"])
    assert mill.job("a").status() == "not_found"


def test_a_wrong_url_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidRedisURL):
        SyncQueue.from_url("http://localhost")
    assert not engines()


def test_a_refused_request_leaves_the_queue_usable(mill: SyncQueue) -> None:
    with pytest.raises(InvalidRequest):
        mill.chat("")
    mill.ping()


def test_many_threads_share_one_engine(server: Server, mill: SyncQueue) -> None:
    def work(i: int) -> Any:
        job: SyncJob[Any] = mill.chat("hi", job_id=f"job-{i}")
        finish(server, job.id)
        return job.result(20)

    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(work, range(200))) == [f"job-{i}" for i in range(200)]
        assert len(engines()) == 1


def test_it_opens_again_after_close(server: Server, mill: SyncQueue) -> None:
    for _ in range(3):
        mill.ping()
        mill.close()
        assert not engines()
    mill.close()


def test_closing_tells_the_threads_that_wait(server: Server, mill: SyncQueue) -> None:
    mill.chat("hi", job_id="a")
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(mill.job("a").result) for _ in range(3)]
        until_waited_for(server, "a")
        mill.close()
        for thread in waiting:
            with pytest.raises(QueueUnavailable, match="has been closed"):
                thread.result(10)


def test_closing_while_threads_enqueue_leaves_none_of_them_hanging(mill: SyncQueue) -> None:
    closed = threading.Event()

    def work() -> None:
        while not closed.is_set():
            with suppress(QueueUnavailable):
                mill.chat_many(["hi"] * 20)

    with ThreadPoolExecutor(4) as threads:
        working = [threads.submit(work) for _ in range(4)]
        for _ in range(20):
            mill.ping()
            mill.close()
        closed.set()
        for thread in working:
            thread.result(10)


def test_ctrl_c_ends_the_wait_and_leaves_the_queue_usable(server: Server, mill: SyncQueue) -> None:
    job = mill.chat("hi", job_id="a")

    def interrupt() -> None:
        until_waited_for(server, "a")
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            job.result(20)
    finish(server, "a")
    assert cast(object, job.result(5)) == "a"


FORKS = """
import os, sys
from client import SyncQueue

mill = SyncQueue(sys.argv[1])
mill.chat("parent", job_id="parent")
child = os.fork()
if child == 0:
    mill.chat("child", job_id="child")
    assert mill.job("child").status() == "queued"
    mill.close()
    grandchild = os.fork()
    if grandchild == 0:
        mill.chat("grandchild", job_id="grandchild")
        sys.exit(0)
    assert os.waitpid(grandchild, 0)[1] == 0
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
for name in ("parent", "child", "grandchild"):
    assert mill.job(name).status() == "queued", name
if "close" in sys.argv:
    mill.close()
"""


LOCKED = """
import os, sys, threading
from client import SyncQueue

mill = SyncQueue(sys.argv[1])
held = threading.Event()

def hold():
    with mill._lock:
        held.set()
        threading.Event().wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
if (child := os.fork()) == 0:
    mill.ping()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_forked_child_does_not_wait_for_a_thread_that_is_not_there(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOCKED, server.url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")


LEAVES_NOTHING = """
import sys
from client import SyncQueue

with SyncQueue(sys.argv[1]) as mill:
    mill.chat("hi", job_id="a")
    try:
        mill.job("a").result(0.05)
    except TimeoutError:
        pass
"""


def test_a_closed_queue_leaves_nothing_open(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", LEAVES_NOTHING, server.url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")


LATE = """
import sys
from client import QueueUnavailable, SyncQueue

mill = SyncQueue(sys.argv[1])
mill.ping()

class Late:
    def __del__(self):
        try:
            mill.job("a").status()
        except QueueUnavailable as error:
            print(error)
        mill.close()

late = Late()
"""


def test_what_comes_while_python_shuts_down_is_refused_and_does_not_hang(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE, server.url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Python is shutting down: a SyncQueue cannot be used any more.\n"


@pytest.mark.parametrize("end", ["close", "leave open"])
def test_it_works_in_a_forked_child_and_still_in_the_parent(server: Server, end: str) -> None:
    done = subprocess.run(
        # it forks beside a thread of its own on purpose, which Python 3.12 warns of
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", FORKS, server.url, end],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
