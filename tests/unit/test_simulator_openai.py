"""The simulator speaks OpenAI's API: bodies, streams, errors."""

import base64
import io
import json
import math
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from promptmill.simulator import SimulatorConfig, serve

KEY = {"Authorization": "Bearer sk-test"}
CHAT = "/v1/chat/completions"


@pytest.fixture
async def provider() -> AsyncIterator[ClientSession]:
    config = SimulatorConfig(latency_s=0, context_tokens=1000)
    async with serve(config) as url, ClientSession(url, headers=KEY) as session:
        yield session


def chat(content: str = "Why is the sky blue?", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **more}


async def stream(provider: ClientSession, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with provider.post(CHAT, json={**body, "stream": True}) as response:
        assert response.content_type == "text/event-stream"
        text = await response.text()
    events = text.removesuffix("\n\n").split("\n\n")
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


async def error(response: Any) -> dict[str, Any]:
    body: dict[str, Any] = (await response.json())["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return body


async def test_an_answer_echoes_the_prompt_and_has_the_configured_length(
    provider: ClientSession,
) -> None:
    async with provider.post(CHAT, json=chat()) as response:
        answer = await response.json()
        assert response.headers["x-request-id"].startswith("req_")
        assert "x-ratelimit-limit-requests" not in response.headers
    choice = answer["choices"][0]
    assert choice["message"]["content"].startswith("Simulated answer to: Why is the sky blue?")
    assert len(choice["message"]["content"]) == 40 * 4
    assert choice["finish_reason"] == "stop"
    assert answer["object"] == "chat.completion"
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (5, 40, 45)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0


async def test_the_same_prompt_has_the_same_answer(provider: ClientSession) -> None:
    texts = []
    for _ in range(2):
        async with provider.post(CHAT, json=chat()) as response:
            texts.append((await response.json())["choices"][0]["message"]["content"])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_cuts_the_answer(provider: ClientSession, name: str) -> None:
    async with provider.post(CHAT, json={**chat(), name: 3}) as response:
        answer = await response.json()
    assert answer["choices"][0]["message"]["content"] == "Simulated an"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


async def test_parts_of_text_are_read_like_a_string(provider: ClientSession) -> None:
    parts = [{"type": "text", "text": "Look: "}, {"type": "image_url", "image_url": {"url": "x"}}]
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]}
    async with provider.post(CHAT, json=body) as response:
        answer = await response.json()
    assert "answer to: Look: " in answer["choices"][0]["message"]["content"]


async def test_a_stream_carries_the_same_text_token_by_token(provider: ClientSession) -> None:
    async with provider.post(CHAT, json=chat()) as response:
        whole = (await response.json())["choices"][0]["message"]["content"]
    chunks = await stream(provider, chat())
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == whole
    assert len(deltas) == 1 + 40 + 1
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons[-1] == "stop"
    assert set(reasons[:-1]) == {None}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


async def test_a_stream_reports_its_usage_last_when_asked(provider: ClientSession) -> None:
    chunks = await stream(provider, chat(stream_options={"include_usage": True}))
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 40
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


async def test_deltas_tell_when_they_were_sent_where_that_is_asked(provider: ClientSession) -> None:
    async with provider.patch("/config", json={"stamp_deltas": True}) as response:
        assert response.ok
    chunks = await stream(provider, chat())
    now_ms = time.time_ns() // 1_000_000

    stamps = [text for chunk in chunks if (text := chunk["choices"][0]["delta"].get("content"))]
    assert len(stamps) == 40
    assert all((now_ms - int(stamp)) % 10_000 < 5_000 for stamp in stamps)


async def test_a_text_has_one_unit_vector_of_the_asked_dimensions(provider: ClientSession) -> None:
    body = {"model": "text-embedding-3-small", "input": ["sky", "sea", "sky"], "dimensions": 8}
    async with provider.post("/v1/embeddings", json=body) as response:
        answer = await response.json()
    sky, sea, again = (each["embedding"] for each in answer["data"])
    assert sky == again != sea
    assert len(sky) == 8
    assert math.hypot(*sky) == pytest.approx(1)
    assert [each["index"] for each in answer["data"]] == [0, 1, 2]
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


async def test_base64_vectors_are_little_endian_floats(provider: ClientSession) -> None:
    vectors = []
    for encoding in ("float", "base64"):
        body = {"model": "e", "input": "sky", "encoding_format": encoding}
        async with provider.post("/v1/embeddings", json=body) as response:
            vectors.append((await response.json())["data"][0]["embedding"])
    assert len(vectors[0]) == 1536
    decoded = struct.unpack("<1536f", base64.b64decode(vectors[1]))
    assert list(decoded) == pytest.approx(vectors[0], abs=1e-6)


async def test_models_are_listed(provider: ClientSession) -> None:
    async with provider.get("/v1/models") as response:
        listed = await response.json()
    assert listed["object"] == "list"
    assert "gpt-4o" in [model["id"] for model in listed["data"]]


@pytest.mark.parametrize(
    ("key", "status", "type_", "code"),
    [
        ("", 401, "invalid_request_error", None),
        ("Bearer ", 401, "invalid_request_error", None),
        ("Bearer sk-invalid", 401, "invalid_request_error", "invalid_api_key"),
        ("Bearer sk-no-quota", 429, "insufficient_quota", "insufficient_quota"),
    ],
)
async def test_a_bad_key_is_refused(
    provider: ClientSession, key: str, status: int, type_: str, code: str | None
) -> None:
    async with provider.post(CHAT, json=chat(), headers={"Authorization": key}) as response:
        body = await error(response)
        assert response.status == status
        assert "retry-after" not in response.headers
    assert (body["type"], body["code"]) == (type_, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{not json", 400, None),
        (b"[]", 400, None),
        (b"{}", 400, None),
        (b'{"model": "gpt-4o"}', 400, "missing_required_parameter"),
        (b'{"model": "gpt-4o", "messages": []}', 400, "empty_array"),
        (b'{"model": "gpt-4o", "messages": "hi"}', 400, "invalid_type"),
        (json.dumps(chat(model="unknown-1")).encode(), 404, "model_not_found"),
        (json.dumps(chat(model="missing-1")).encode(), 404, "model_not_found"),
        (json.dumps(chat("x" * 4001)).encode(), 400, "context_length_exceeded"),
        (json.dumps(chat(max_tokens=0)).encode(), 400, "integer_below_min_value"),
    ],
)
async def test_a_bad_chat_is_refused(
    provider: ClientSession, body: bytes, status: int, code: str | None
) -> None:
    async with provider.post(CHAT, data=body) as response:
        refusal = await error(response)
        assert response.status == status
    assert refusal["type"] == "invalid_request_error"
    assert refusal["code"] == code


@pytest.mark.parametrize(
    "more",
    [{"input": ""}, {"input": []}, {"input": [1]}, {"dimensions": -1}, {"encoding_format": "hex"}],
)
async def test_a_bad_embeddings_call_is_refused(provider: ClientSession, more: dict[str, Any]) -> None:
    body = {"model": "e", "input": "sky", **more}
    async with provider.post("/v1/embeddings", json=body) as response:
        assert (await error(response))["param"] == next(iter(more))
        assert response.status == 400


async def test_a_body_over_32_mb_is_refused(provider: ClientSession) -> None:
    async with provider.post(CHAT, data=io.BytesIO(b" " * (32 * 1024 * 1024 + 1))) as response:
        assert response.status == 413
        assert (await error(response))["type"] == "invalid_request_error"


async def test_an_unknown_path_is_not_found(provider: ClientSession) -> None:
    async with provider.post("/v1/nothing") as response:
        assert response.status == 404
        assert "/v1/nothing" in (await error(response))["message"]
