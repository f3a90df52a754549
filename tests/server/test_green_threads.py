"""SyncQueue where gevent or eventlet has replaced threads, in any mode: it works or says why not, and never hangs."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from client import Queue, QueueUnavailable, SyncQueue, loop_thread
from client.loop_thread import green_library
from tests.conftest import Server

ROOT = Path(__file__).parents[2]

# Each mode: what is patched, and whether there is room for a loop among the others.
MODES = {
    "gevent": [
        ("from gevent import monkey; monkey.patch_all()", True),
        ("from gevent import monkey; monkey.patch_all(socket=False, ssl=False, dns=False)", True),
        ("from gevent import monkey; monkey.patch_all(thread=False)", True),
        ("from gevent import monkey; monkey.patch_all(select=False)", False),
        ("from gevent import monkey; monkey.patch_thread()", False),
        ("import client; from gevent import monkey; monkey.patch_all()", True),
    ],
    "eventlet": [
        ("import eventlet; eventlet.monkey_patch()", True),
        ("import eventlet; eventlet.monkey_patch(thread=False)", True),
        ("import eventlet; eventlet.monkey_patch(thread=True, socket=False, select=False)", False),
    ],
}
USE = """
import asyncio, os, sys, threading
from client import SyncQueue, QueueUnavailable

def loops():
    return asyncio._get_running_loop(), tuple(sys.get_asyncgen_hooks())

def use(name):
    found = loops()
    job = mill.chat("hi", job_id=name)
    assert job.status() == "queued"
    try:
        job.result(0.05)
    except TimeoutError:
        pass
    assert loops() == found == (None, (None, None)), loops()

mill = SyncQueue(sys.argv[1])
try:
    use("a")
except QueueUnavailable as refusal:
    print(refusal)
    sys.exit(3)
threads = [threading.Thread(target=use, args=(str(n),)) for n in range(5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert mill.job("a").abort()

async def own():
    return mill.job("0").status()

assert asyncio.run(own()) == "queued"
if (child := os.fork()) == 0:
    use("child")
    mill.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
for n in range(5): use(f"after {n}")
mill.close()
"""


@pytest.mark.parametrize(
    ("library", "patch", "has_room"),
    [pytest.param(name, *mode, id=mode[0]) for name, modes in MODES.items() for mode in modes],
)
def test_it_works_or_says_why_not_and_leaves_the_thread_as_it_was(
    server: Server, library: str, patch: str, has_room: bool
) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{patch}\n{USE}", server.url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=30,
    )
    if has_room:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 3, done.stderr
        assert f"{library} has replaced threads, but select does not let them run" in done.stdout


def _started_by_another(target: object, args: object) -> None:
    """In the place of what starts a thread."""


def test_who_has_replaced_threads_is_known_by_what_starts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert green_library() is None
    monkeypatch.setattr(threading, "_start_new_thread", _started_by_another)
    assert green_library() == __name__.partition(".")[0]


def test_green_threads_that_select_would_stop_are_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_thread, "green_library", lambda: "greens")
    monkeypatch.setattr(loop_thread, "_lets_others_run", lambda _: False)
    with SyncQueue(server.url) as mill:
        for _ in range(2):
            with pytest.raises(QueueUnavailable, match="greens has replaced threads, but select"):
                mill.ping()


def test_whoever_waits_is_told_that_the_loop_has_ended(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # it is said on stderr, too
    with SyncQueue(server.url) as mill:

        async def die(_: Queue) -> None:
            asyncio.get_running_loop().call_soon(_exit)
            await asyncio.Event().wait()

        with pytest.raises(QueueUnavailable, match=r"event loop of a SyncQueue has ended: SystemExit"):
            mill.call(die)
        mill.ping()  # on another


def _exit() -> None:
    raise SystemExit


def test_a_loop_among_green_threads_hides_while_it_waits(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_thread, "green_library", lambda: "greens")
    with SyncQueue(server.url) as mill:
        assert mill.chat("hi", job_id="a").status() == "queued"
        mill.close()
        assert mill.job("a").abort()
