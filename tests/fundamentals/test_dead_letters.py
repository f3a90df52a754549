"""A job that no try could help is set aside, and can be run again once the cause is put right."""

from __future__ import annotations

from typing import Any

import pytest
from arq import Retry

from client import Queue
from client.errors import TriesExhausted
from tests.conftest import Server
from tests.engine.rig import Engines


async def test_a_dead_letter_is_found_and_run_again(server: Server, queue: Queue, engines: Engines) -> None:
    mended = False

    async def fragile(ctx: dict[str, Any], text: str) -> str:
        if not mended:
            raise Retry
        return text.upper()

    job = await queue.enqueue("fragile", "hello", _job_id="greeting")
    await engines.burst(server, fragile, max_tries=2)
    with pytest.raises(TriesExhausted):
        await job.result(timeout_s=1)  # the caller has its error
    letter = await queue.dead.get("greeting")  # and whoever is paged has the job
    assert (letter.function, letter.args, letter.error_type) == ("fragile", ["hello"], "TriesExhausted")

    mended = True
    assert await queue.dead.retry(["greeting"]) == ["greeting"]
    await engines.burst(server, fragile)

    assert await job.result(timeout_s=1) == "HELLO"
    assert await queue.dead.count() == 0
