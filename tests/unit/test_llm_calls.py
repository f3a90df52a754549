"""One physical call, over a mock transport and over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from aiohttp import web

from client import errors
from client.wire.schemas import ChatRequest, EmbedRequest
from settings import Settings
from tests.conftest import forever
from worker.calls import LLM

ANSWER = {"id": "1", "model": "m-1", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
HI = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(autouse=True)
def no_proxy_but_the_tests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def settings(**fields: Any) -> Settings:
    local = {"base_url": "http://local.test/v1", "api_key": "sk-secret1"}
    return Settings(_env_file=None, **{"default_model": "local/m", "providers": {"local": local}, **fields})


def answering(handler: Callable[[httpx.Request], Any], **fields: Any) -> LLM:
    return LLM(settings(**fields), httpx.AsyncClient(transport=httpx.MockTransport(handler)))


def asked(**fields: Any) -> ChatRequest:
    return ChatRequest.model_validate({**HI, **fields})


async def test_a_chat_is_asked_once_and_answered() -> None:
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    llm = answering(handle)
    answer = await llm.chat(asked(), call_id="job:2")
    assert (answer.text, answer.model) == ("Hello", "m-1")
    (request,) = seen
    assert str(request.url) == "http://local.test/v1/chat/completions"
    assert json.loads(request.content)["model"] == "m"
    assert request.headers["x-client-request-id"] == "job:2"
    assert request.headers["authorization"] == "Bearer sk-secret1"


async def test_a_job_id_that_no_header_can_hold_is_quoted() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=ANSWER | {"id": request.headers["x-client-request-id"]})

    answer = await answering(handle).chat(asked(), call_id="jöb\n:1")
    assert answer.response_id == "j%C3%B6b%0A:1"
    long = await answering(handle).chat(asked(), call_id="j" * 1000 + ":17")
    assert long.response_id == "j" * 509 + ":17"


async def test_a_refusal_is_the_providers_typed_error() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"retry-after": "2"}, json={"error": {"message": "slow down"}})

    with pytest.raises(errors.RateLimited, match="local/m answered 429: slow down") as raised:
        await answering(handle).chat(asked(), call_id="job:1")
    assert raised.value.retry_after_s == 2


@pytest.mark.parametrize(
    ("status", "headers", "seen"),
    [
        (200, {"x-ratelimit-limit-requests": "60"}, [("local/m", 60)]),
        (200, {}, [("local/m", None)]),
        (429, {"x-ratelimit-limit-requests": "60"}, [("local/m", 60)]),
        (404, {}, []),
    ],
)
async def test_what_the_headers_say_of_the_rates_is_told(
    status: int, headers: dict[str, str], seen: list[Any]
) -> None:
    told = []
    http = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, json=ANSWER))
    )
    llm = LLM(settings(), http, observe=lambda route, rates: told.append((str(route), rates.rpm)))
    with contextlib.suppress(errors.ProviderError):
        await llm.chat(asked(), call_id="job:1")
    assert told == seen


async def test_a_broken_connection_is_ours_and_its_words_are_not_chained() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("lost sk-secret1")

    with pytest.raises(
        errors.ProviderUnreachable, match=r"^local/m broke the connection: lost \[hidden\]\. See "
    ) as raised:
        await answering(handle).chat(asked(), call_id="job:1")
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("fields", [{"timeout_s": 0.02}, {}])
async def test_a_call_ends_at_its_deadline(fields: dict[str, float]) -> None:
    async def handle(request: httpx.Request) -> httpx.Response:
        await forever()

    llm = answering(handle, request_timeout_s=0.02)
    with pytest.raises(errors.ProviderTimeout, match=r"did not answer within 0\.02 s"):
        await llm.chat(asked(**fields), call_id="job:1")


async def test_cancelling_is_not_a_failure_of_the_provider() -> None:
    begun = asyncio.Event()

    async def handle(request: httpx.Request) -> httpx.Response:
        begun.set()
        await forever()

    call = asyncio.create_task(answering(handle).chat(asked(), call_id="job:1"))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_every_text_must_have_its_vector() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": [{"embedding": [1.0]}]})

    llm = answering(handle, default_embed_model="local/e")
    assert (await llm.embed(EmbedRequest(texts=["a"]), call_id="j:1")).vectors == [[1.0]]
    with pytest.raises(errors.MalformedResponse, match="local/e answered 1 vectors for 2 texts"):
        await llm.embed(EmbedRequest(texts=["a", "b"]), call_id="j:1")


async def test_an_embedding_model_without_a_slash_goes_to_the_default_embedding_provider() -> None:
    llm = LLM(settings(default_embed_model="local/e", default_model="anthropic/x"), httpx.AsyncClient())
    assert str(llm.embed_route("other")) == "local/other"
    assert llm.embed_route("other").provider is llm.embed_route("other").provider


async def test_a_real_client_calls_a_real_server_and_closes() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response(ANSWER)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    local = {"base_url": f"http://127.0.0.1:{runner.addresses[0][1]}/v1"}
    llm = LLM.open(settings(providers={"local": local}, max_jobs=10))
    answers = await asyncio.gather(*(llm.chat(asked(), call_id=f"{n}:1") for n in range(30)))
    assert {answer.text for answer in answers} == {"Hello"}
    await llm.close()
    await llm.close()
    await runner.cleanup()
