"""Who imports whom, what each package shows, and what no file may do."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"client", "worker", "promptmill", "settings", "benchmarks", "tests"}
MAY_IMPORT = {
    "settings": set[str](),
    "client": set[str](),
    "worker": {"client", "settings", "promptmill"},
    "promptmill": {"client", "settings"},
}
PACKAGES = [name for name in MAY_IMPORT if name != "settings"]
LINES = 300
# what a door shows without importing it before it is asked for
LAZY = {"Context", "CpuWorkerSettings", "WorkerSettings", "http_client", "httpx2_client", "redis_settings"}


def sources(room: str) -> list[Path]:
    return [ROOT / "settings.py"] if room == "settings" else sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, with the number of leading dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    for path in sources(room):
        for module, level in imports(path):
            top = module.partition(".")[0]
            if level == 0 and top in OURS - {room}:
                assert top in MAY_IMPORT[room], f"{path.relative_to(ROOT)} imports {module}"


def test_the_client_names_itself_only_relatively() -> None:
    for path in sources("client"):
        absolute = [module for module, level in imports(path) if level == 0]
        assert not [module for module in absolute if module.partition(".")[0] == "client"], path.name


def test_no_relative_import_leaves_its_package() -> None:
    for room in PACKAGES:
        for path in sources(room):
            depth = len(path.relative_to(ROOT).parts) - 1
            assert all(level <= depth for _, level in imports(path)), path


@pytest.mark.parametrize("package", ["client", "worker", "promptmill/simulator"])
def test_all_names_what_the_door_shows(package: str) -> None:
    door = importlib.import_module(package.replace("/", "."))
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    shown = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module not in ("typing", "__future__")
        for alias in node.names
    }
    lazy = set(door.__all__) - shown
    assert shown - set(door.__all__) == set()
    assert lazy <= LAZY, lazy
    assert list(door.__all__) == sorted(door.__all__, key=lambda name: (name[0].islower(), name))


def all_code() -> list[Path]:
    found = [path for room in MAY_IMPORT for path in sources(room)]
    return found + [path for room in PACKAGES for path in (ROOT / room).rglob("*.lua")]


def test_no_code_of_ours_lists_keys_or_reads_pickle() -> None:
    for path in all_code():
        text = path.read_text()
        assert not re.search(r"""\.keys\(\s*["'*]|call\(\s*["']KEYS["']""", text), path
        if path.suffix == ".py":
            tops = {module.partition(".")[0] for module, _ in imports(path)}
            assert not tops & {"pickle", "dill", "cloudpickle", "shelve", "marshal"}, path


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    for path in all_code():
        assert len(path.read_text().splitlines()) <= LINES, path


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
