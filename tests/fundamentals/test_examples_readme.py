"""The code of README.md and docs/, run against a real worker."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from client import Completion, Queue
from tests.fundamentals.conftest import ROOT, LiveStack

PAGES = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]


def block_with(words: str) -> str:
    text = "\n".join(page.read_text() for page in PAGES)
    found: list[str] = [
        block for block in re.findall(r"^```python\n(.*?)^```", text, re.S | re.M) if words in block
    ]
    (only,) = found
    return only


def test_the_ten_lines_work(stack: LiveStack) -> None:
    lines = block_with("import asyncio, os")

    printed = stack.run_python("-c", lines)

    assert len([line for line in lines.splitlines() if line]) <= 10
    assert printed.startswith("Simulated answer to: Why is the sky blue?")


async def test_a_plain_arq_pool_is_a_client(stack: LiveStack) -> None:
    body = textwrap.indent(block_with('enqueue_job("chat"'), "    ")
    names: dict[str, Any] = {"url": stack.url}
    exec(f"async def snippet():\n{body}\n    return pool, answer", names)

    pool, answer = await names["snippet"]()
    await pool.aclose()

    assert isinstance(answer, Completion)
    assert answer.text.startswith("Simulated answer to: Hello")


async def test_lanes_priorities_and_deadlines_can_be_asked_for(stack: LiveStack) -> None:
    body = textwrap.indent(block_with('lane="acme"'), "    ")
    async with Queue.from_url(stack.url) as queue:
        names: dict[str, Any] = {"queue": queue, "prompt": "Hello", "text": "Redis is a store."}
        exec(f"async def snippet():\n{body}", names)

        await names["snippet"]()


async def test_a_result_is_fetched_by_its_id_from_another_process(stack: LiveStack) -> None:
    async with Queue.from_url(stack.url) as queue:
        first = await queue.chat("What is a lease?", job_id="lease-1")
        again = await queue.chat("What is a lease?", job_id="lease-1")
        await first.result(timeout_s=10)

    async with Queue.from_url(stack.url) as another:
        answer = await another.job("lease-1").result(timeout_s=10)

    assert again.id == first.id
    assert answer.job_id == "lease-1"
