"""Engines and worker processes for every test of the engine as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from arq import ArqRedis, create_pool

from client import decode, encode, redis_settings
from client.wire.keys import KEYS
from tests.conftest import Server
from tests.engine.rig import Engines, Workers


@pytest.fixture
def server(server: Server) -> Iterator[Server]:
    yield server
    with server.client() as client:  # lanes stay there until their next look
        client.delete(KEYS.lanes)


@pytest.fixture
async def engines(server: Server) -> AsyncIterator[Engines]:
    """Starts engines in this process."""
    engines = Engines()
    yield engines
    await engines.close()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    """Starts workers as processes."""
    workers = Workers(tmp_path)
    yield workers
    workers.end()


@pytest.fixture
async def plain(server: Server) -> AsyncIterator[ArqRedis]:
    """A pool of plain arq with our codec: it tells nobody what it does."""
    pool = await create_pool(redis_settings(server.url), job_serializer=encode, job_deserializer=decode)
    yield pool
    await pool.aclose(close_connection_pool=True)
