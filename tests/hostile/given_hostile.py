"""A worker's LLM whose provider says what it is told, and what must hold of whatever comes of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from dataclasses import asdict
from functools import cache
from typing import Any

import httpx
from hypothesis import HealthCheck, Phase, settings

from client import errors
from promptmill.dialects import ChatAnswer, Delta
from settings import ProviderSettings, Settings
from tests.unit.recordings import KEY
from tests.unit.test_llm_calls import asked
from worker.calls import LLM

Outcome = tuple[str, Any]  # "answer" and its text, or the class of the error

# the same examples at each run, and not those of an earlier one
SOME = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
MAX_ANSWER_MB = 0.0625  # less than can be set, so that a body without an end is soon too large
KINDS = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta"}


class Body(httpx.AsyncByteStream):
    """What a response has: chunks, and an error where the connection breaks."""

    def __init__(self, chunks: list[bytes], end: Exception | None = None) -> None:
        self._chunks, self._end = chunks, end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._end is not None:
            raise self._end


def saying(
    provider: str, chunks: list[bytes], *, status: int = 200, end: Exception | None = None, kind: str = ""
) -> LLM:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"content-type": kind}, stream=Body(chunks, end))

    return LLM(chosen(provider), httpx.AsyncClient(transport=httpx.MockTransport(handle), trust_env=False))


@cache
def chosen(provider: str) -> Settings:
    """The settings of a worker with one provider, of that dialect."""
    at = ProviderSettings.model_validate(
        {"base_url": f"http://host.test{KINDS[provider]}", "api_key": KEY, "kind": provider}
    )
    settings = Settings(
        _env_file=None, providers={"host": at}, default_model="host/m", default_embed_model="host/m"
    )
    return settings.model_copy(update={"max_answer_mb": MAX_ANSWER_MB})


async def plain(llm: LLM) -> Outcome:
    """What becomes of a plain call."""
    return await _outcome(llm.chat(asked(), call_id="j:1"))


async def streamed(llm: LLM) -> Outcome:
    """What becomes of a streamed call; its deltas, too, are looked at."""
    told: list[Delta] = []
    kind, text = await _outcome(llm.chat_stream(asked(), call_id="j:1", on_delta=told.append))
    for delta in told:
        encodable(list(delta[:2]))
        assert all(part.index is not None for part in delta.tool_calls)
    if kind == "answer":
        assert "".join(delta.text for delta in told) == text
    return kind, text


async def _outcome(call: Awaitable[ChatAnswer]) -> Outcome:
    try:
        answer = await call
    except errors.ProviderError as error:
        is_decent(error)
        return type(error).__name__, None
    encodable(asdict(answer) | {"usage": answer.usage.model_dump()})
    return "answer", answer.text


def is_decent(error: errors.ProviderError) -> None:
    """One sentence of bounded length, without the key."""
    assert KEY not in json.dumps(error.to_wire(), allow_nan=False)
    assert len(str(error)) < 1_000
    assert "\n" not in str(error)
    encodable(error.to_wire())


def encodable(value: Any) -> None:
    """Whether it can go out as UTF-8: no half of a character is left in it."""
    json.dumps(value, ensure_ascii=False).encode()
