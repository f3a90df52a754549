"""Which failures of a real connection mean that nothing was sent, and which leave that open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import pytest

from client.errors import JobError, ProviderTimeout
from client.limits.rules.refusal import was_unreached
from client.wire.schemas import ChatRequest, EmbedRequest
from settings import ProviderSettings, Settings
from tests.unit.given_llm import Runs, redis, run
from worker.calls import LLM

__all__ = ["redis", "run"]

ASKED = ChatRequest.model_validate({"model": "host/m", "messages": [{"role": "user", "content": "Hi"}]})
Behaviour: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def hangs_up_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def hangs_up_when_asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@asynccontextmanager
async def listening(behaviour: Behaviour | None) -> AsyncIterator[int]:
    """A port that behaves so; with None, one where nobody listens any more."""
    open_: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await (behaviour or says_nothing)(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if behaviour is None:
        server.close()
        await server.wait_closed()
    try:
        yield port
    finally:
        server.close()
        await asyncio.gather(*open_)


@pytest.mark.parametrize(
    ("scheme", "behaviour", "unreached"),
    [
        ("http", None, True),  # refused
        ("https", None, True),
        ("https", hangs_up_at_once, True),  # TLS fails
        ("https", says_nothing, True),  # TLS hangs, until CONNECT_TIMEOUT_S
        ("http", hangs_up_when_asked, False),  # it may have been read
        ("http", says_nothing, False),  # until the call's own limit
    ],
)
async def test_what_was_never_sent_is_told_from_what_may_have_been(
    scheme: str, behaviour: Behaviour | None, unreached: bool
) -> None:
    async with listening(behaviour) as port:
        host = ProviderSettings(base_url=f"{scheme}://127.0.0.1:{port}/v1")
        settings = Settings(
            _env_file=None, providers={"host": host}, connect_timeout_s=0.2, request_timeout_s=0.5
        )
        llm = LLM.open(settings)
        try:
            with pytest.raises(JobError) as failed:
                await llm.chat(ASKED, call_id="one")
        finally:
            await llm.close()
    assert was_unreached(failed.value) == unreached, failed.value
    assert failed.value.retryable


CUT_OFF = [("https", True), ("http", False)]  # in the middle of its TLS; as it waits for its answer
ASKS: dict[str, Callable[[LLM], Awaitable[object]]] = {
    "chat": lambda llm: llm.chat(ASKED, call_id="one"),
    "stream": lambda llm: llm.chat_stream(ASKED, call_id="one", on_delta=lambda delta: None),
    "embed": lambda llm: llm.embed(EmbedRequest(model="host/m", texts=["a"]), call_id="one"),
}


@asynccontextmanager
async def silent_host(scheme: str, **limits: float) -> AsyncIterator[tuple[LLM, asyncio.Event]]:
    """An LLM whose host takes connections and says nothing, and what is set once it has heard something."""
    heard = asyncio.Event()

    async def listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        heard.set()
        await reader.read()

    async with listening(listens) as port:
        host = ProviderSettings(base_url=f"{scheme}://127.0.0.1:{port}/v1")
        model = {"default_model": "host/m", "max_tries": 1}
        llm = LLM.open(Settings(_env_file=None, providers={"host": host}, **model, **limits))  # type: ignore[arg-type]
        try:
            yield llm, heard
        finally:
            await llm.close()


@pytest.mark.parametrize(("scheme", "unsent"), CUT_OFF)
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_a_call_whose_time_ends_before_it_has_a_connection_was_never_sent(
    ask: Callable[[LLM], Awaitable[object]], scheme: str, unsent: bool
) -> None:
    async with silent_host(scheme, connect_timeout_s=9, request_timeout_s=0.1) as (llm, _):
        with pytest.raises(ProviderTimeout) as failed:
            await ask(llm)
    assert was_unreached(failed.value) == unsent, failed.value


@pytest.mark.parametrize(("scheme", "unsent"), CUT_OFF)
async def test_a_call_that_is_cancelled_before_it_has_a_connection_counts_as_none(
    run: Runs, scheme: str, unsent: bool
) -> None:
    async with silent_host(scheme) as (llm, heard):
        running = asyncio.create_task(run(llm))  # type: ignore[arg-type]
        await asyncio.wait([asyncio.create_task(heard.wait()), running], return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    (attempt,) = run.ctx.meter.attempts
    assert (attempt.error, attempt.sent) == ("CancelledError", not unsent)
    assert attempt.cost_usd == (0 if unsent else None)
    assert (run.totals.open, len(run.totals)) == (0, int(not unsent))
    assert run.ctx.meter.called == (not unsent)
