"""A process that says what it found, as JSON objects, one a line."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks import proc
from benchmarks.stage import Stuck

_ROOT = Path(__file__).parents[2]


class Reporter:
    """A running `python -m MODULE`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self, limit_s: float) -> dict[str, Any]:
        """What it says next. Raises Stuck where it ends without, or says nothing for `limit_s`."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(limit_s):
                line = await self._process.stdout.readline()
                if not line:
                    raise Stuck(f"It ended: {await self._last_words()}")
        except TimeoutError:
            raise Stuck(f"It has said nothing for {limit_s:g} s.") from None
        found: dict[str, Any] = json.loads(line)
        return found

    def rss_bytes(self) -> int:
        return proc.rss_bytes(self._process.pid)

    def kill(self) -> None:
        """kill -9. Idempotent."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def _last_words(self) -> str:
        assert self._process.stderr is not None
        lines = (await self._process.stderr.read()).decode(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it wrote nothing"


@asynccontextmanager
async def reporter(module: str, *words: object) -> AsyncIterator[Reporter]:
    """`python -m MODULE WORDS…`, ended on the way out."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *map(str, words)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )
    child = Reporter(process)
    try:
        yield child
    finally:
        child.kill()
        await process.wait()
