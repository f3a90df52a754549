"""The simulator's truth and its knobs: `/stats`, `/config`, the command line, the process."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner

from promptmill import simulator
from promptmill.simulator import InvalidConfig, SimulatorConfig, create_app, serve
from promptmill.simulator.command import simulator as command
from promptmill.simulator.stats import MAX_REQUEST_IDS, RequestStats
from tests.conftest import wait_until

HEADERS = {"Authorization": "Bearer sk-test"}
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def provider() -> AsyncIterator[ClientSession]:
    async with (
        serve(SimulatorConfig(latency_s=0, latency_sigma=0)) as url,
        ClientSession(url, headers=HEADERS) as session,
    ):
        yield session


async def call(session: ClientSession, request_id: str | None = None) -> int:
    headers = {"x-client-request-id": request_id} if request_id else {}
    async with session.post("/v1/chat/completions", json=BODY, headers=headers) as response:
        await response.read()
        return response.status


async def get(session: ClientSession, path: str) -> Any:
    async with session.get(path) as response:
        return await response.json()


async def patch(session: ClientSession, settings: Any) -> tuple[int, Any]:
    async with session.patch("/config", json=settings) as response:
        return response.status, await response.json()


async def wait_for_open(session: ClientSession, count: int) -> None:
    async def all_open() -> bool:
        return bool((await get(session, "/stats"))["open"] == count)

    await wait_until(all_open, description=f"{count} open calls")


async def test_stats_tell_what_happened(provider: ClientSession) -> None:
    before_s = time.time()
    assert await call(provider, "a") == 200
    assert await call(provider, "b") == 200
    assert await call(provider, "b") == 200
    async with provider.post("/v1/chat/completions", data=b"{") as refused:
        assert refused.status == 400
    counts = await get(provider, "/stats")
    assert counts["requests"] == 4
    assert counts["completed"] == 3
    assert (counts["open"], counts["peak_open"], counts["cancelled"]) == (0, 1, 0)
    assert counts["by_status"] == {"200": 3, "400": 1}
    assert counts["tokens"] == {"input": 6, "output": 120}
    assert counts["calls_per_request_id"] == {"a": 1, "b": 2}
    assert counts["answers_per_request_id"] == {"a": 1, "b": 2}
    assert before_s <= counts["first_request_at_s"] <= counts["last_answer_at_s"] <= time.time()
    assert counts["uptime_s"] > 0
    assert "calls_per_request_id" not in await get(provider, "/stats?ids=0")


async def test_a_refused_call_counts_as_a_call_but_not_as_an_answer(
    provider: ClientSession,
) -> None:
    await patch(provider, {"rpm": 1})
    assert await call(provider, "a") == 200
    assert await call(provider, "a") == 429
    counts = await get(provider, "/stats")
    assert counts["calls_per_request_id"] == {"a": 2}
    assert counts["answers_per_request_id"] == {"a": 1}
    assert counts["refused_429"] == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_is_counted(provider: ClientSession, stream: bool) -> None:
    await patch(provider, {"latency_s": 30, "first_token_s": 0.01, "output_tokens": 10_000})

    async def read() -> None:
        body = {**BODY, "stream": stream}
        async with provider.post("/v1/chat/completions", json=body) as response:
            await response.read()

    task = asyncio.create_task(read())
    await wait_for_open(provider, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await wait_for_open(provider, 0)
    counts = await get(provider, "/stats")
    assert (counts["cancelled"], counts["completed"], counts["requests"]) == (1, 0, 1)


async def test_a_reset_of_the_stats_keeps_what_is_open(provider: ClientSession) -> None:
    await call(provider, "a")
    await patch(provider, {"fault_hang": 1})
    task = asyncio.create_task(call(provider))
    await wait_for_open(provider, 1)
    async with provider.delete("/stats") as response:
        assert response.status == 204
    counts = await get(provider, "/stats")
    assert (counts["requests"], counts["open"], counts["peak_open"]) == (0, 1, 1)
    assert (counts["by_status"], counts["calls_per_request_id"]) == ({}, {})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_the_map_of_request_ids_is_bounded() -> None:
    stats = RequestStats()
    for number in range(MAX_REQUEST_IDS + 1):
        stats.arrive(str(number))
    calls = stats.snapshot()["calls_per_request_id"]
    assert len(calls) == MAX_REQUEST_IDS
    assert "0" not in calls


async def test_the_configuration_changes_while_it_runs(provider: ClientSession) -> None:
    status, config = await patch(provider, {"down": True, "rpm": 7})
    assert (status, config["down"], config["rpm"]) == (200, True, 7)
    assert await get(provider, "/config") == config
    assert await call(provider) == 503
    await patch(provider, {"down": False, "rpm": None})
    assert await call(provider) == 200


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"latency": 1}, "'latency' is not a setting of the simulator."),
        ({"rpm": 9, "latency_s": -1}, "latency_s: Input should be greater than or equal to 0."),
        ({"down": "no"}, "down: Input should be a valid boolean."),
        ({"fault_500": 0.6, "fault_529": 0.6}, "The fault probabilities add up to more than 1."),
        ([1], "The body must be a JSON object of settings."),
    ],
)
async def test_a_wrong_setting_changes_nothing(provider: ClientSession, settings: Any, sentence: str) -> None:
    before = await get(provider, "/config")
    status, body = await patch(provider, settings)
    assert (status, body) == (400, {"error": {"message": sentence}})
    assert await get(provider, "/config") == before


async def test_the_same_seed_draws_the_same_faults(provider: ClientSession) -> None:
    await patch(provider, {"fault_500": 0.5})
    draws = []
    for _ in range(2):
        await patch(provider, {"seed": 7})
        draws.append([await call(provider) for _ in range(12)])
    assert draws[0] == draws[1]
    assert set(draws[0]) == {200, 500}


def test_every_setting_is_a_flag() -> None:
    flags = {option.name for option in command.params}
    assert flags == {*SimulatorConfig.model_fields, "host", "port"}


def test_a_wrong_flag_is_explained() -> None:
    result = CliRunner().invoke(command, ["--fault-500", "2"])
    assert result.exit_code == 2
    assert "fault_500: Input should be less than or equal to 1." in result.output


def test_the_package_exports_what_it_promises() -> None:
    assert sorted(simulator.__all__) == [
        "InvalidConfig",
        "SimulatorConfig",
        "create_app",
        "serve",
    ]
    assert create_app().router.routes()
    with pytest.raises(InvalidConfig, match="not a setting"):
        SimulatorConfig.of({"nothing": 1})


async def test_the_process_says_it_is_ready_answers_and_stops_on_term() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "promptmill.simulator", "--port", "0", "--latency-s", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    ready = (await process.stdout.readline()).decode()
    assert ready.startswith("simulator listening on http://127.0.0.1:")
    async with ClientSession(ready.split()[-1], headers=HEADERS) as session:
        assert await call(session) == 200
        await patch(session, {"fault_hang": 1})
        hanging = asyncio.create_task(call(session))
        await wait_for_open(session, 1)
        told_at_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(process.communicate(), 5)
        await asyncio.gather(hanging, return_exceptions=True)
    assert (process.returncode, out, err) == (0, b"", b"")
    assert time.monotonic() - told_at_s < 3  # and not when its call would have ended
