"""What goes wrong on purpose, and how long things take."""

import asyncio
import json
from random import Random
from statistics import median
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession

from promptmill.simulator import SimulatorConfig, serve
from promptmill.simulator.faults import Fault, draw_fault
from promptmill.simulator.latency import Latency, draw_latency_s, pace_of

OPENAI = "/v1/chat/completions"
ANTHROPIC = "/v1/messages"
HEADERS = {
    "Authorization": "Bearer sk-test",
    "x-api-key": "sk-test",
    "anthropic-version": "2023-06-01",
}
BODY = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


async def call(url: str, path: str, **more: Any) -> tuple[int, str]:
    async with (
        ClientSession(url, headers=HEADERS) as session,
        session.post(path, json={**BODY, **more}) as response,
    ):
        return response.status, await response.text()


async def stats(url: str) -> Any:
    async with ClientSession(url) as session, session.get("/stats") as response:
        return await response.json()


@pytest.mark.parametrize(
    ("fault", "path", "status", "type_"),
    [
        ("fault_429", OPENAI, 429, "requests"),
        ("fault_429", ANTHROPIC, 429, "rate_limit_error"),
        ("fault_500", OPENAI, 500, "server_error"),
        ("fault_500", ANTHROPIC, 500, "api_error"),
        ("fault_529", OPENAI, 503, "overloaded_error"),
        ("fault_529", ANTHROPIC, 529, "overloaded_error"),
    ],
)
async def test_a_provider_in_trouble_says_so_in_its_own_words(
    fault: str, path: str, status: int, type_: str
) -> None:
    async with serve(SimulatorConfig.of({fault: 1})) as url:
        got, text = await call(url, path)
        counts = await stats(url)
    assert (got, json.loads(text)["error"]["type"]) == (status, type_)
    assert counts["faults"] == {fault.removeprefix("fault_"): 1}
    assert counts["by_status"] == {str(status): 1}
    assert counts["completed"] == 0


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, "/v1/embeddings"])
async def test_a_provider_that_is_down_answers_503_to_all(path: str) -> None:
    async with serve(SimulatorConfig(down=True)) as url:
        status, text = await call(url, path)
        counts = await stats(url)
    assert status == 503
    assert json.loads(text)["error"]["message"]
    assert counts["faults"] == {"down": 1}


async def test_a_hang_never_answers_and_the_hang_up_is_counted() -> None:
    async with serve(SimulatorConfig(fault_hang=1, latency_s=0)) as url:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call(url, OPENAI), 0.1)
        deadline = asyncio.get_running_loop().time() + 5
        while not (counts := await stats(url))["cancelled"]:
            assert asyncio.get_running_loop().time() < deadline
        assert (counts["cancelled"], counts["open"], counts["by_status"]) == (1, 0, {})


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reset_is_a_tcp_reset(stream: bool) -> None:
    async with serve(SimulatorConfig(fault_reset=1, latency_s=0)) as url:
        with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
            await call(url, OPENAI, stream=stream)
        counts = await stats(url)
    assert counts["faults"] == {"reset": 1}
    assert (counts["cancelled"], counts["open"]) == (0, 0)


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_answer_stops_in_the_middle(path: str, stream: bool) -> None:
    config = SimulatorConfig(fault_cut_stream=1, latency_s=0)
    async with serve(config) as url:
        async with (
            ClientSession(url, headers=HEADERS) as session,
            session.post(path, json={**BODY, "stream": stream}) as response,
        ):
            assert response.status == 200
            received = await response.content.readany()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        counts = await stats(url)
    assert b"Simu" in received
    assert b"[DONE]" not in received
    assert b"message_stop" not in received
    assert counts["faults"] == {"cut_stream": 1}
    assert (counts["completed"], counts["cancelled"], counts["open"]) == (0, 0, 0)


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC])
async def test_a_malformed_answer_is_a_200_with_broken_json(path: str) -> None:
    async with serve(SimulatorConfig(fault_malformed=1, latency_s=0)) as url:
        status, text = await call(url, path)
        assert status == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)
        _, streamed = await call(url, path, stream=True)
    broken = [line for line in streamed.splitlines() if line.startswith('data: {"id": "broken"')]
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken[0].removeprefix("data: "))


def test_faults_come_as_often_as_configured_and_one_at_a_time() -> None:
    config = SimulatorConfig(fault_500=0.2, fault_reset=0.1)
    random = Random(1)
    drawn = [draw_fault(config, random) for _ in range(10_000)]
    assert drawn.count(Fault.SERVER_ERROR) == pytest.approx(2000, rel=0.1)
    assert drawn.count(Fault.RESET) == pytest.approx(1000, rel=0.1)
    assert drawn.count(None) == 10_000 - drawn.count(Fault.SERVER_ERROR) - drawn.count(Fault.RESET)


def test_every_fault_has_its_setting() -> None:
    settings = {f"fault_{fault}" for fault in Fault}
    assert settings == {name for name in SimulatorConfig.model_fields if name.startswith("fault_")}


def test_latency_spreads_around_its_median() -> None:
    random = Random(1)
    drawn = [draw_latency_s(SimulatorConfig(latency_s=2), random) for _ in range(5000)]
    assert median(drawn) == pytest.approx(2, rel=0.05)
    assert min(drawn) < 1.2
    assert max(drawn) > 4
    assert draw_latency_s(SimulatorConfig(latency_s=2, latency_sigma=0), random) == 2


def test_a_stream_takes_the_latency_unless_its_pace_is_set() -> None:
    assert pace_of(SimulatorConfig(), 1.0, 41) == Latency(0.2, 0.02)
    assert pace_of(SimulatorConfig(first_token_s=0.5), 1.0, 6) == Latency(0.5, 0.1)
    assert pace_of(SimulatorConfig(tokens_per_s=50), 1.0, 7) == Latency(0.2, 0.02)
    assert pace_of(SimulatorConfig(first_token_s=3), 1.0, 7) == Latency(3, 0)


async def test_tokens_arrive_at_their_pace() -> None:
    config = SimulatorConfig(first_token_s=0.1, tokens_per_s=100, output_tokens=31)
    clock = asyncio.get_running_loop().time
    async with serve(config) as url, ClientSession(url, headers=HEADERS) as session:
        asked_at_s = clock()
        async with session.post(OPENAI, json={**BODY, "stream": True}) as response:
            await response.content.readline()
            first_at_s = clock()
            await response.read()
            ended_at_s = clock()
    assert first_at_s - asked_at_s > 0.09
    assert 0.25 < ended_at_s - first_at_s < 2
