"""What the tests of the scripts, of streams and of slots begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from client import Queue
from tests.conftest import Server
from tests.server.given_slots import MODEL, nothing_left
from tests.server.streams_room import Worker, hired
from tests.server.test_engine_room import Room, opened


@pytest.fixture
async def room(server: Server) -> AsyncIterator[Room]:
    """The engine's scripts on the real server."""
    async with opened(server) as room:
        yield room


@pytest.fixture
async def worker(server: Server) -> AsyncIterator[Worker]:
    """A worker without its loop, which streams to the real server."""
    async with hired(server) as worker:
        yield worker


@pytest.fixture
async def one(queue: Queue) -> AsyncIterator[Queue]:
    """A queue whose model takes one call at once. Nothing of its calls may be left."""
    await queue.limits.set(MODEL, concurrency=1)
    yield queue
    await nothing_left(queue)
