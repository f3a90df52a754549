"""What every test may use: a real server, an in-process fake of it, and a way to wait without sleeping."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import fakeredis
import pytest
import redis
from fakeredis import FakeAsyncRedisConnection
from redis.asyncio import BlockingConnectionPool

from client import Queue
from client.redis import texts
from client.redis.connection import from_pool
from client.session import Session
from client.wire.keys import Keys, prefix_of
from promptmill.cli.stack import StackError
from promptmill.cli.stack.embedded import find_server

# Set by `make test-slots`: the server is a node of a cluster that has all slots, the URLs name a namespace, and a
# script that leaves its slot fails.
STRICT = bool(os.environ.get("STRICT_SLOTS"))
NAMESPACE = "llm" if STRICT else ""
KEYS = Keys(prefix_of(NAMESPACE))
if STRICT:
    _plain = texts.whole
    texts.whole = lambda *text: f"#!lua flags=allow-oom\n{_plain(*text)}"

# Members are removed one by one, so these need no TTL; every other key must have one.
KEYS_WITHOUT_TTL = {
    Keys().queue,
    Keys().aborts,
    Keys().lanes,
    Keys().cpu_lanes,
    Keys().limits,
    Keys().limits_seeded,
    Keys().gates,
    Keys().unreadable,
    Keys().returns,
}

POLL_S = 0.005

AnyRedis: TypeAlias = Any  # redis-py types a command as "a value, or an awaitable of one"


async def wait_until(
    predicate: Callable[[], bool | Awaitable[bool]], *, description: str, timeout_s: float = 10
) -> None:
    """Returns as soon as `predicate` holds; fails the test, naming what it waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        outcome = predicate()
        if outcome if isinstance(outcome, bool) else await outcome:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"Waited {timeout_s:g} s for: {description}")
        await asyncio.sleep(POLL_S)


def wait_blocking(predicate: Callable[[], bool], *, description: str, timeout_s: float = 10) -> None:
    """`wait_until` for a thread without an event loop."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            pytest.fail(f"Waited {timeout_s:g} s for: {description}")
        time.sleep(POLL_S)


async def forever() -> NoReturn:
    """Ends with its task."""
    while True:
        await asyncio.Event().wait()


@dataclass
class Server:
    """A real server on a unix socket; `stop` and `start` keep its data."""

    directory: Path
    binary: str
    process: subprocess.Popen[bytes] | None = field(default=None)
    # which would take an emptied server for one that lost its data, and wait
    has_a_shared_worker: bool = False

    @property
    def socket(self) -> Path:
        return self.directory / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}{f'?namespace={NAMESPACE}' if NAMESPACE else ''}"

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))

    def start(self) -> None:
        options = f"--cluster-enabled yes --cluster-port {_free_port()} " if STRICT else ""
        options += f"--port 0 --unixsocket {self.socket} --dir {self.directory} --appendonly yes --save"
        self.process = subprocess.Popen(
            [self.binary, *options.split(), ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_blocking(self.answers, description="the test server answers")

    def answers(self) -> bool:
        with self.client() as client, suppress(redis.RedisError):
            return bool(client.ping()) and (not STRICT or _has_all_slots(client))
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _has_all_slots(client: redis.Redis) -> bool:
    """Whether the node of a cluster serves; a new one is given the slots."""
    node: AnyRedis = client
    told: str = node.execute_command("CLUSTER INFO")["cluster_slots_assigned"]
    if told == "0":
        node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
    return bool(node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`plain(reason)`: a test that cannot run in a namespace, or on a node of a cluster."""
    for item in items:
        mark = item.get_closest_marker("plain")
        if STRICT and mark is not None:
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))


def _binary() -> str:
    try:
        return find_server()
    except StackError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def _shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("s"), _binary())
    server.start()
    yield server
    server.stop()


def _empty(server: Server, client: redis.Redis) -> None:
    epoch: Any = client.get(KEYS.epoch)
    client.flushall()
    if epoch and server.has_a_shared_worker:
        client.set(KEYS.epoch, epoch, ex=60)


def _leaked(client: redis.Redis) -> set[str]:
    """The keys that nobody ever removes."""
    immortal = (key.decode() for key in client.scan_iter(count=1000) if client.ttl(key) == -1)
    plain = {re.sub(r"^\{[a-z0-9_-]+\}:", "", key) for key in immortal}
    return {key for key in plain - KEYS_WITHOUT_TTL if not key.startswith(Keys().lane(""))}


@pytest.fixture
def server(_shared_server: Server) -> Iterator[Server]:
    """A real server, empty at the start. Fails a test that leaves a key without a TTL."""
    with _shared_server.client() as client:
        _empty(_shared_server, client)
        yield _shared_server
        leaked = _leaked(client)
        _empty(_shared_server, client)
    assert leaked == set(), "keys without a TTL"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A real server of this test's own, to be stopped and started. Fails a test that leaves a key without a TTL."""
    server = Server(tmp_path, _binary())
    server.start()
    try:
        yield server
        if not server.answers():  # it is stopped, or has a password
            server.stop()
            server.start()
        with server.client() as client:
            leaked = _leaked(client)
    finally:
        server.stop()
    assert leaked == set(), "keys without a TTL"


@pytest.fixture
async def queue(server: Server) -> AsyncIterator[Queue]:
    """An open queue on the real server."""
    async with Queue.from_url(server.url) as queue:
        yield queue


@pytest.fixture
async def own_queue(own_server: Server) -> AsyncIterator[Queue]:
    """An open queue on the test's own server."""
    async with Queue.from_url(own_server.url) as queue:
        yield queue


@pytest.fixture
async def fake_queue() -> AsyncIterator[Queue]:
    """An open queue on an in-process fake."""
    fake = fakeredis.FakeServer()

    def pool(size: int) -> BlockingConnectionPool:
        return BlockingConnectionPool(
            max_connections=size, timeout=None, connection_class=FakeAsyncRedisConnection, server=fake
        )

    async with Queue(Session(from_pool(pool(2)), from_pool(pool(1)))) as queue:
        yield queue


@pytest.fixture(params=["real"] if STRICT else ["fake", "real"])  # the fake reads no flags of Lua
def any_queue(request: pytest.FixtureRequest) -> Queue:
    """The contract tests run on both."""
    queue: Queue = request.getfixturevalue("fake_queue" if request.param == "fake" else "queue")
    return queue
