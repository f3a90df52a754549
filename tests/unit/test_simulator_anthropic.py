"""The simulator speaks Anthropic's API: bodies, streams, errors."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from promptmill.simulator import SimulatorConfig, serve

HEADERS = {"x-api-key": "sk-test", "anthropic-version": "2023-06-01"}


@pytest.fixture
async def provider() -> AsyncIterator[ClientSession]:
    config = SimulatorConfig(latency_s=0, context_tokens=1000)
    async with serve(config) as url, ClientSession(url) as session:
        yield session


def message(content: str = "Why is the sky blue?", **more: Any) -> dict[str, Any]:
    body = {"model": "claude-sonnet-5", "max_tokens": 100}
    return {**body, "messages": [{"role": "user", "content": content}], **more}


async def post(
    provider: ClientSession, body: Any, headers: dict[str, str] = HEADERS
) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with provider.post("/v1/messages", data=data, headers=headers) as response:
        assert response.headers["request-id"].startswith("req_")
        return response.status, await response.json()


async def test_an_answer_is_a_message_with_one_text_block(provider: ClientSession) -> None:
    status, answer = await post(provider, message(system="Be brief."))
    assert status == 200
    assert (answer["type"], answer["role"]) == ("message", "assistant")
    (block,) = answer["content"]
    assert block["type"] == "text"
    assert block["text"].startswith("Simulated answer to: Why is the sky blue?")
    assert answer["stop_reason"] == "end_turn"
    assert answer["usage"]["input_tokens"] == 8
    assert answer["usage"]["output_tokens"] == 40


async def test_max_tokens_cuts_the_answer(provider: ClientSession) -> None:
    _, answer = await post(provider, message(max_tokens=3))
    assert answer["content"][0]["text"] == "Simulated an"
    assert answer["stop_reason"] == "max_tokens"
    assert answer["usage"]["output_tokens"] == 3


async def test_a_stream_is_the_documented_sequence_of_events(provider: ClientSession) -> None:
    _, answer = await post(provider, message())
    body = message(stream=True)
    async with provider.post("/v1/messages", json=body, headers=HEADERS) as response:
        assert response.content_type == "text/event-stream"
        lines = (await response.text()).removesuffix("\n\n").split("\n\n")
    events = []
    for each in lines:
        name, _, data = each.removeprefix("event: ").partition("\ndata: ")
        events.append(json.loads(data))
        assert events[-1]["type"] == name
    names = [event["type"] for event in events]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[3:-3]) == {"content_block_delta"}
    assert events[0]["message"]["usage"]["input_tokens"] == 5
    text = "".join(event["delta"]["text"] for event in events[3:-3])
    assert text == answer["content"][0]["text"]
    assert events[-2]["delta"]["stop_reason"] == "end_turn"
    assert events[-2]["usage"]["output_tokens"] == 40


@pytest.mark.parametrize(
    ("headers", "status", "type_"),
    [
        ({"x-api-key": ""}, 401, "authentication_error"),
        ({"x-api-key": "sk-invalid"}, 401, "authentication_error"),
        ({"x-api-key": "sk-no-quota"}, 400, "invalid_request_error"),
        ({"anthropic-version": ""}, 400, "invalid_request_error"),
    ],
)
async def test_a_bad_header_is_refused(
    provider: ClientSession, headers: dict[str, str], status: int, type_: str
) -> None:
    got, body = await post(provider, message(), {**HEADERS, **headers})
    assert (got, body["type"], body["error"]["type"]) == (status, "error", type_)
    assert body["request_id"].startswith("req_")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{not json", 400, "not valid JSON"),
        (message(messages=None), 400, "messages: Field required"),
        (message(messages=[]), 400, "at least one message"),
        (message(messages="hi"), 400, "messages: "),
        (message(max_tokens=None), 400, "max_tokens: Field required"),
        (message(max_tokens=0), 400, "max_tokens: "),
        (message(model=7), 400, "model: "),
        (message("x" * 4001), 400, "prompt is too long: 1001 tokens > 1000 maximum"),
        (message(model="unknown-1"), 404, "model: unknown-1"),
    ],
)
async def test_a_bad_message_is_refused(provider: ClientSession, body: Any, status: int, words: str) -> None:
    got, refusal = await post(provider, body)
    expected = "not_found_error" if status == 404 else "invalid_request_error"
    assert (got, refusal["error"]["type"]) == (status, expected)
    assert words in refusal["error"]["message"]
