"""What can be used without the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.unit.architecture.product import ROOT


def python(code: str, *paths: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_client_needs_redis_and_pydantic_alone() -> None:
    code = """
import sys, annotated_types, redis.asyncio, pydantic
known = {name.partition('.')[0] for name in sys.modules} | set(sys.stdlib_module_names)
import client
print({name.partition('.')[0] for name in sys.modules if not name.startswith('_')} - known)
"""
    assert python(code, ROOT) == "{'client'}"


def test_a_module_of_jobs_needs_no_http_library() -> None:
    code = "import sys; from worker import Context, job; print({'httpx', 'httpx2', 'aiohttp'} & set(sys.modules))"
    assert python(code, ROOT) == "set()"


def test_the_client_works_under_another_name(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "client", tmp_path / "vendored_mill")
    code = """
import asyncio, fakeredis, sys
from fakeredis import FakeAsyncRedisConnection as Fake
from redis.asyncio import BlockingConnectionPool as Pool
from vendored_mill import Queue
from vendored_mill.redis.connection import from_pool
from vendored_mill.session import Session

async def main():
    server = fakeredis.FakeServer()
    pools = [Pool(max_connections=1, timeout=None, connection_class=Fake, server=server) for _ in "ab"]
    async with Queue(Session(*map(from_pool, pools))) as queue:
        job = await queue.chat("hi", job_id="a")
        print((await job.status()).value, "client" in sys.modules)

asyncio.run(main())
"""
    assert python(code, tmp_path) == "queued False"
