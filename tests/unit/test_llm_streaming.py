"""One streamed call: its parts, its clock, and what goes wrong before and in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import httpx
import pytest
from aiohttp import web
from pydantic_core import to_json

from client import errors
from promptmill.dialects import ChatAnswer
from tests.unit.test_llm_calls import asked, settings
from worker.calls import LLM
from worker.calls import stream_reader as reading

END = b"data: [DONE]\n\n"


Part: TypeAlias = bytes | Exception | float | None


def event(data: object) -> bytes:
    return b"data: %b\n\n" % to_json(data)


def chunk(text: str, **more: str) -> bytes:
    return event({"id": "1", "model": "m-1", "choices": [{"delta": {"content": text}, **more}]})


WHOLE = (chunk("Hel"), chunk("lo"), chunk("", finish_reason="stop"), END)


class Body(httpx.AsyncByteStream):
    """A response's body; `None` in it is silence without end, a number so many seconds of it."""

    def __init__(self, *chunks: Part) -> None:
        self.chunks, self.closed = chunks, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.chunks:
            if part is None:
                await asyncio.Event().wait()
            elif isinstance(part, Exception):
                raise part
            elif isinstance(part, float):
                await asyncio.sleep(part)
            else:
                yield part

    async def aclose(self) -> None:
        self.closed = True


def streaming(*chunks: Part, status: int = 200, **fields: float) -> tuple[LLM, Body]:
    body = Body(*chunks)
    transport = httpx.MockTransport(lambda _: httpx.Response(status, stream=body))
    return LLM(settings(**fields), httpx.AsyncClient(transport=transport)), body


async def called(llm: LLM, **fields: object) -> tuple[ChatAnswer, list[str]]:
    told: list[str] = []
    answer = await llm.chat_stream(
        asked(**fields), call_id="job:1", on_delta=lambda delta: told.append(delta.text)
    )
    return answer, told


async def test_parts_are_told_as_they_come_and_the_answer_is_whole() -> None:
    llm, body = streaming(*WHOLE)
    answer, told = await called(llm)
    assert (answer.text, answer.model, answer.finish_reason) == ("Hello", "m-1", "stop")
    assert told[:2] == ["Hel", "lo"]
    assert body.closed


async def test_a_refusal_is_the_same_as_for_a_plain_call() -> None:
    llm, body = streaming(b'{"error": {"message": "slow down"}}', status=429)
    with pytest.raises(errors.RateLimited, match="local/m answered 429: slow down"):
        await called(llm)
    assert body.closed


@pytest.mark.parametrize(
    ("chunks", "error", "words"),
    [
        ([chunk("Hel")], errors.MalformedResponse, "was cut off: it has no end"),
        ([chunk("Hel"), httpx.ReadError("lost")], errors.ProviderUnreachable, "broke the connection"),
        ([chunk("Hel"), b"data: {]\n\n"], errors.MalformedResponse, "not a JSON object"),
        ([b"<html></html>"], errors.MalformedResponse, "there is no event in it"),
        ([], errors.MalformedResponse, "there is no event in it"),
    ],
)
async def test_what_breaks_off_is_a_transient_failure(
    chunks: list[bytes | Exception], error: type[errors.ProviderError], words: str
) -> None:
    llm, body = streaming(*chunks)
    with pytest.raises(error, match=words) as raised:
        await called(llm)
    assert raised.value.retryable
    assert body.closed


@pytest.mark.parametrize("end", [httpx.RemoteProtocolError("payload is not completed"), None])
async def test_an_answer_that_is_whole_is_kept_however_its_connection_ends(end: Exception | None) -> None:
    llm, body = streaming(*WHOLE[:-1], end)
    answer, _ = await called(llm, timeout_s=0.05)
    assert (answer.text, answer.finish_reason) == ("Hello", "stop")
    assert body.closed


async def test_a_stream_that_has_begun_may_not_be_silent_for_long() -> None:
    llm, body = streaming(chunk("Hel"), None, stream_silence_s=0.02)
    with pytest.raises(errors.ProviderTimeout, match=r"stopped answering: silent for 0\.02 s"):
        await called(llm)
    assert body.closed


THINKING = (
    b": a comment\n\n",
    event({"choices": [{"delta": {"role": "assistant", "content": ""}}]}),
    event({"choices": [{"delta": {"reasoning_content": "Hm"}}]}),
)


@pytest.mark.parametrize("thought", [*THINKING, b"".join(THINKING), chunk("Hel")])
async def test_silence_is_no_failure_before_the_first_word_or_where_the_request_has_time(
    thought: bytes,
) -> None:
    fields = {"timeout_s": 5} if thought == chunk("Hel") else {}
    llm, _ = streaming(thought, 0.08, *WHOLE, stream_silence_s=0.02)
    answer, _ = await called(llm, **fields)
    assert answer.text in ("Hello", "HelHello")


async def test_what_is_silent_longer_than_the_request_has_time_fails() -> None:
    llm, body = streaming(*THINKING, None)
    with pytest.raises(errors.ProviderTimeout, match=r"did not answer within 0\.05 s"):
        await called(llm, timeout_s=0.05)
    assert body.closed


async def test_what_came_in_one_chunk_before_an_error_is_told() -> None:
    told: list[str] = []
    llm, body = streaming(chunk("Hel") + b'data: {"error": {"code": 429, "message": "Slow down"}}\n\n', None)
    with pytest.raises(errors.RateLimited, match="Slow down"):
        await llm.chat_stream(asked(), call_id="job:1", on_delta=lambda delta: told.append(delta.text))
    assert told == ["Hel"]
    assert body.closed


async def test_a_stream_ends_at_the_deadline_of_its_request() -> None:
    llm, body = streaming(chunk("Hel"), None)
    with pytest.raises(errors.ProviderTimeout, match=r"did not answer within 0\.02 s"):
        await called(llm, timeout_s=0.02)
    assert body.closed


async def test_a_host_that_does_not_hang_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "END_S", 0.02)
    llm, body = streaming(*WHOLE, None)
    answer, _ = await called(llm, timeout_s=30)
    assert answer.text == "Hello"
    assert body.closed


@asynccontextmanager
async def serving(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[LLM]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    local = {"base_url": f"http://127.0.0.1:{runner.addresses[0][1]}/v1"}
    llm = LLM.open(settings(providers={"local": local}, max_jobs=10))
    yield llm
    await llm.close()
    await runner.cleanup()


async def test_a_connection_that_has_told_all_is_used_again_and_a_cancelled_one_is_closed() -> None:
    peers, hung_up = [], asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        response = web.StreamResponse()
        await response.prepare(request)
        for part in WHOLE if len(peers) < 3 else WHOLE[:1]:
            await response.write(part)
        if len(peers) == 3:
            try:
                await asyncio.Event().wait()
            finally:
                hung_up.set()
        return response

    async with serving(handle) as llm:
        for _ in range(2):
            assert (await called(llm))[0].text == "Hello"
        begun = asyncio.Event()
        call = asyncio.create_task(llm.chat_stream(asked(), call_id="job:1", on_delta=lambda _: begun.set()))
        await begun.wait()
        call.cancel()
        async with asyncio.timeout(2):
            await hung_up.wait()
        await asyncio.gather(call, return_exceptions=True)
    assert peers[0] == peers[1]
