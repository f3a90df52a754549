"""Which failures of a real connection mean that nothing was sent, and which leave that open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import pytest

from client.errors import JobError
from client.limits.rules.refusal import was_unreached
from client.wire.schemas import ChatRequest
from settings import ProviderSettings, Settings
from worker.calls import LLM

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
