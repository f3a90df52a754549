"""Lanes are served in turn; a priority is a head start within its lane."""

from __future__ import annotations

from typing import Any

from client import Queue
from tests.conftest import Server
from tests.engine.rig import Engines


async def test_a_small_tenant_does_not_wait_for_a_large_one(
    server: Server, queue: Queue, engines: Engines
) -> None:
    order: list[str] = []

    async def work(ctx: dict[str, Any], tenant: str) -> None:
        order.append(tenant)

    for _ in range(50):
        await queue.enqueue("work", "large", _lane="large")
    await queue.enqueue("work", "small", _lane="small")
    await engines.burst(server, work, max_jobs=2)

    assert order.index("small") < 5


async def test_within_a_lane_a_head_start_goes_first(server: Server, queue: Queue, engines: Engines) -> None:
    order: list[Any] = []

    async def work(ctx: dict[str, Any], priority: Any) -> None:
        order.append(priority)

    for priority in ("low", "normal", 120, "high"):  # 0, 60, 120 and 600 seconds
        await queue.enqueue("work", priority, _lane="acme", _priority=priority)
    await engines.burst(server, work, max_jobs=1)

    assert order == ["high", 120, "normal", "low"]
