"""No body, however large, packed or endless, takes more than its share of memory, and none is asked for twice."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from aiohttp import web

from client import errors
from tests.unit.given_http import no_proxy_but_the_tests_own, serving
from tests.unit.test_llm_calls import asked, settings
from worker.calls import LLM, inflate
from worker.calls.transport import MAX_REFUSAL_BYTES

__all__ = ["no_proxy_but_the_tests_own"]

MB = 1_000_000
MAX_GROWTH_BYTES = (
    12 * MB
)  # of a process that takes answers of 1 MB: some copies of it, and the server of the test
ANSWER = b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}'
STREAM = b'data: {"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "x-gzip": gzip.compress,
}
BOMBS = {name: PACKED[name](b" " * (200 * MB)) for name in ("gzip", "deflate")}
BOMBS["gzip, gzip"] = gzip.compress(BOMBS["gzip"])
BOMBS["identity"] = b" " * (3 * MB)


@contextmanager
def in_little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < MAX_GROWTH_BYTES, f"{most_bytes / MB:.0f} MB"


@asynccontextmanager
async def answered(
    body: bytes | None, encoding: str | None = None, status: int = 200, kind: str = "application/json"
) -> AsyncIterator[LLM]:
    """A worker's LLM, and a provider that answers everything so; None is a stream of comments without end."""

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {"content-encoding": encoding} if encoding else {}
        response = web.StreamResponse(status=status, headers={"content-type": kind, **headers})
        await response.prepare(request)
        if body is not None:
            await response.write(body)
        while body is None:
            await response.write(b": " + b"x" * 100_000 + b"\n")
        return response

    async with serving(handle) as url:
        local = {"base_url": url + "/v1"}
        llm = LLM.open(settings(providers={"local": local}, max_jobs=10, max_answer_mb=1))
        try:
            yield llm
        finally:
            await llm.close()


async def ask(llm: LLM, streamed: bool) -> str:
    if streamed:
        return (await llm.chat_stream(asked(), call_id="j:1", on_delta=lambda _: None)).text
    return (await llm.chat(asked(), call_id="j:1")).text


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("encoding", BOMBS)
async def test_a_bomb_is_one_final_error_and_takes_no_memory(encoding: str, streamed: bool) -> None:
    async with answered(BOMBS[encoding], encoding) as llm:
        with in_little_memory(), pytest.raises(errors.MalformedResponse, match="more than 1 MB") as raised:
            await ask(llm, streamed)
    assert not raised.value.retryable
    assert raised.value.details["final"]


async def test_a_stream_without_an_end_ends() -> None:
    async with answered(None, kind="text/event-stream") as llm:
        with in_little_memory(), pytest.raises(errors.MalformedResponse, match="more than 1 MB"):
            await ask(llm, streamed=True)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("encoding", BOMBS)
async def test_of_a_refusal_no_more_is_read_than_says_something(encoding: str, streamed: bool) -> None:
    async with answered(BOMBS[encoding], encoding, status=429) as llm:
        with in_little_memory(), pytest.raises(errors.RateLimited):
            await ask(llm, streamed)


async def test_the_beginning_of_a_long_refusal_says_what_it_is() -> None:
    body = b'{"error": {"code": "insufficient_quota", "message": "Empty. %b"}}' % (
        b"x" * 2 * MAX_REFUSAL_BYTES
    )
    async with answered(body, status=429) as llm:
        with pytest.raises(errors.QuotaExhausted, match="insufficient_quota: Empty"):
            await ask(llm, streamed=False)


@pytest.mark.parametrize("body", [ANSWER, STREAM])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("encoding", [*PACKED, "gzip, deflate", "raw deflate", "identity", "two members"])
async def test_what_is_packed_is_read(encoding: str, streamed: bool, body: bytes) -> None:
    if encoding == "raw deflate":
        sent, encoding = raw_deflate(body), "deflate"
    elif encoding == "two members":
        sent, encoding = gzip.compress(body[:9]) + gzip.compress(body[9:]), "gzip"
    elif encoding == "gzip, deflate":
        sent = zlib.compress(gzip.compress(body))
    else:
        sent = PACKED.get(encoding, bytes)(body)
    async with answered(sent, encoding) as llm:
        assert await ask(llm, streamed) == "Hello"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "gzip, gzip, gzip", "x" * 1_000])
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_nobody_asked_to_be_packed_is_refused_once(encoding: str, streamed: bool) -> None:
    async with answered(b"\x1b" * 100, encoding) as llm:
        with pytest.raises(errors.MalformedResponse, match="which was not asked for") as raised:
            await ask(llm, streamed)
    assert not raised.value.retryable
    async with answered(b"\x1b" * 100, encoding, status=503) as llm:
        with pytest.raises(errors.Overloaded):
            await ask(llm, streamed)


def test_a_piece_is_small_however_much_is_packed_in_a_chunk() -> None:
    layers = inflate.layers("gzip")
    assert layers is not None
    sizes = [len(piece) for piece in layers[0].pieces(gzip.compress(b"x" * 10 * MB))]
    assert sum(sizes) == 10 * MB
    assert max(sizes) == inflate.PIECE_BYTES
