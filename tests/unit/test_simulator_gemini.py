"""The simulator speaks Gemini's API: bodies, streams, embeddings, errors."""

import json
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from promptmill.simulator import SimulatorConfig, serve

KEY = {"x-goog-api-key": "test"}
PATH = "/v1beta/models/gemini-2.5-flash:"
CHAT, STREAM = PATH + "generateContent", PATH + "streamGenerateContent?alt=sse"
EMBED = "/v1beta/models/gemini-embedding-001:batchEmbedContents"


@pytest.fixture
async def provider() -> AsyncIterator[ClientSession]:
    config = SimulatorConfig(latency_s=0, context_tokens=1000)
    async with serve(config) as url, ClientSession(url) as session:
        yield session


def content(text: str = "Why is the sky blue?", **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}


def embedding(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}, **more}


async def post(provider: ClientSession, path: str, body: Any, headers: Any = KEY) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with provider.post(path, data=data, headers=headers) as response:
        return response.status, await response.json()


async def test_an_answer_is_a_candidate_with_one_part(provider: ClientSession) -> None:
    status, answer = await post(provider, CHAT, content(systemInstruction={"parts": [{"text": "Be brief."}]}))
    assert status == 200
    (candidate,) = answer["candidates"]
    (part,) = candidate["content"]["parts"]
    assert part["text"].startswith("Simulated answer to: Why is the sky blue?")
    assert candidate["finishReason"] == "STOP"
    usage = {"promptTokenCount": 8, "candidatesTokenCount": 40, "totalTokenCount": 48}
    assert answer["usageMetadata"] == usage
    assert answer["modelVersion"] == "gemini-2.5-flash"


async def test_a_token_limit_cuts_the_answer(provider: ClientSession) -> None:
    _, answer = await post(provider, CHAT, content(generationConfig={"maxOutputTokens": 3}))
    (candidate,) = answer["candidates"]
    assert candidate["content"]["parts"] == [{"text": "Simulated an"}]
    assert candidate["finishReason"] == "MAX_TOKENS"


async def test_a_stream_is_a_candidate_for_each_token(provider: ClientSession) -> None:
    _, whole = await post(provider, CHAT, content())
    async with provider.post(STREAM, json=content(), headers=KEY) as response:
        assert response.content_type == "text/event-stream"
        lines = (await response.text()).removesuffix("\r\n\r\n").split("\r\n\r\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    candidates = [chunk["candidates"][0] for chunk in chunks]
    text = "".join(each["content"]["parts"][0]["text"] for each in candidates)
    assert text == whole["candidates"][0]["content"]["parts"][0]["text"]
    assert [each.get("finishReason") for each in candidates] == [None] * 40 + ["STOP"]
    assert chunks[-1]["usageMetadata"]["candidatesTokenCount"] == 40


async def test_a_text_has_one_unit_vector_of_the_asked_dimensions(provider: ClientSession) -> None:
    asked = {"requests": [embedding("sky", outputDimensionality=8), embedding("sea", outputDimensionality=8)]}
    _, answer = await post(provider, EMBED, asked)
    sky, sea = (each["values"] for each in answer["embeddings"])
    assert (len(sky), len(sea)) == (8, 8)
    assert sky != sea
    assert math.hypot(*sky) == pytest.approx(1)


@pytest.mark.parametrize(
    ("key", "code", "status"),
    [
        ("", 403, "PERMISSION_DENIED"),
        ("sk-invalid", 400, "INVALID_ARGUMENT"),
        ("sk-no-quota", 429, "RESOURCE_EXHAUSTED"),
    ],
)
async def test_a_bad_key_is_refused(provider: ClientSession, key: str, code: int, status: str) -> None:
    got, body = await post(provider, CHAT, content(), {"x-goog-api-key": key})
    assert (got, body["error"]["code"], body["error"]["status"]) == (code, code, status)
    async with provider.get("/v1beta/models", headers={"x-goog-api-key": key}) as response:
        assert response.status == code


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        (CHAT, b"{not json", 400, "Invalid JSON payload"),
        (CHAT, {}, 400, "contents is not specified"),
        (CHAT, {"contents": ["hi"]}, 400, "parts must not be empty"),
        (CHAT, content(generationConfig={"maxOutputTokens": 0}), 400, "max_output_tokens"),
        (CHAT, content("x" * 4001), 400, "input token count (1001) exceeds the maximum number of tokens"),
        ("/v1beta/models/unknown-1:generateContent", content(), 404, "models/unknown-1 is not found"),
        (EMBED, {"requests": []}, 400, "requests is not specified"),
        (EMBED, {"requests": [embedding("")]}, 400, "contents is not specified"),
        (EMBED, {"requests": [embedding("a")] * 101}, 400, "at most 100 requests"),
        (EMBED, {"requests": [embedding("a", outputDimensionality=-1)]}, 400, "out of range"),
        (PATH + "countTokens", content(), 404, "Invalid URL"),
    ],
)
async def test_a_bad_call_is_refused(
    provider: ClientSession, path: str, body: Any, code: int, words: str
) -> None:
    got, refusal = await post(provider, path, body)
    assert got == code
    assert words in refusal["error"]["message"]


async def test_a_call_over_a_cap_is_told_how_long_to_wait() -> None:
    async with serve(SimulatorConfig(latency_s=0, rpm=1)) as url, ClientSession(url) as session:
        assert (await post(session, CHAT, content()))[0] == 200
        status, body = await post(session, CHAT, content())
        async with session.get("/stats") as response:
            counts = await response.json()
        async with session.get("/v1beta/models", headers=KEY) as response:
            models = await response.json()
    assert (status, body["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    quota, wait = body["error"]["details"]
    assert quota["violations"][0]["quotaId"] == "GenerateRequestsPerMinutePerProjectPerModel"
    assert wait["retryDelay"] == "60s"
    assert (counts["requests"], counts["completed"], counts["refused_429"]) == (2, 1, 1)
    assert counts["tokens"] == {"input": 5, "output": 40}
    assert {"name": "models/gemini-2.5-flash"} in models["models"]


@pytest.mark.parametrize(
    ("config", "code", "status"),
    [
        ({"fault_500": 1}, 500, "INTERNAL"),
        ({"fault_529": 1}, 503, "UNAVAILABLE"),
        ({"down": True}, 503, "UNAVAILABLE"),
    ],
)
async def test_a_provider_in_trouble_says_so_in_its_own_words(config: Any, code: int, status: str) -> None:
    async with serve(SimulatorConfig.of(config)) as url, ClientSession(url) as session:
        got, body = await post(session, CHAT, content())
    assert (got, body["error"]["status"]) == (code, status)
