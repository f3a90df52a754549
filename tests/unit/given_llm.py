"""A scripted LLM, and the engine's part in running a job: its context, its tries, its moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import fakeredis
import httpx
import pytest
from arq import Retry
from pydantic_core import to_json

from client import JobError, decode, encode
from client.limits.rules import lanes
from client.wire.keys import Keys
from client.wire.lane import provider_of
from client.wire.schemas import Attempt, Usage
from promptmill.dialects import ChatAnswer
from settings import Settings
from tests.conftest import AnyRedis
from worker.calls import LLM
from worker.context import Meter
from worker.jobs import SERVICES, JobContext, Services, chat
from worker.signals import Reroute, Throttled

HI = {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"mine": 1}}
ANSWER = ChatAnswer(
    text="Hello",
    finish_reason="stop",
    model="gpt-4o-mini-2024-07-18",
    usage=Usage(input_tokens=9, output_tokens=2),
    tool_calls=[],
    response_id="r1",
)
ENQUEUED_MS = 1_767_225_600_123


class ScriptedLLM(LLM):
    """Answers, or raises, what it was told, in turn."""

    def __init__(self, *outcomes: Any, **fields: Any) -> None:
        configured = {
            "openai_api_key": "sk-1",
            "default_model": "openai/gpt-4o-mini",
            "max_tries": 3,
            **fields,
        }
        super().__init__(Settings(_env_file=None, **configured), http=httpx.AsyncClient())
        self.outcomes = list(outcomes)
        self.call_ids: list[str] = []

    async def _next(self, request: Any, *, call_id: str) -> Any:
        self.call_ids.append(call_id)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    chat = embed = _next


class Booked(list[tuple[Attempt, str]]):
    """In place of the worker's totals: the calls that were made and have ended, and their tenants."""

    open = 0

    def begin(self, model: str, tenant: str) -> str:
        self.open += 1
        return tenant

    def end(self, tenant: str, attempt: Attempt | None) -> None:
        self.open -= 1
        if attempt is not None:
            self.append((attempt, tenant))


def a_context(
    llm: Any = None, *, redis: Any = None, totals: Any = None, limits: Any = None, **fields: Any
) -> JobContext:
    """What the engine gives a run, and the worker's services; those that are not given are not there."""
    nothing: Any = None
    totals = Booked() if totals is None else totals
    services = Services(redis, Keys(), learner=nothing, totals=totals, relay=nothing, llm=llm, limits=limits)
    given: dict[str, Any] = {
        "job_id": "j1",
        "job_try": 1,
        "enqueue_time": datetime.fromtimestamp(ENQUEUED_MS / 1000, UTC),
        "score": ENQUEUED_MS,
        "lane": "",
        "limit_keys": (),
        "token": "mill:1:host:7:abc",
        "payload": b"",
        "has_run": False,
        "shut": "",
        "meter": Meter(),
        "keep": lambda fields: None,
    }
    return JobContext({SERVICES: services}, **{**given, **fields})


@pytest.fixture
async def redis() -> AsyncIterator[AnyRedis]:
    async with fakeredis.FakeAsyncRedis() as redis:
        yield redis


class Runs:
    """Runs one job as the engine would: a run that ends in a retry uses a try, unless it was turned away."""

    def __init__(self, redis: AnyRedis) -> None:
        self.redis, self.ctx = redis, a_context()
        self.totals = Booked()
        self.limits: Any = None
        self.tries_used, self.has_run = 0, False
        self.kept: dict[str, bytes] = {}
        self.lane: str | None = None
        self.payload: bytes | None = None
        self.shut = ""

    async def __call__(
        self, llm: ScriptedLLM, job: Callable[..., Awaitable[Any]] = chat, request: Any = HI
    ) -> Any:
        defaults = {"@chat": llm.settings.default_model, "@embed": llm.settings.default_embed_model}
        if self.lane is None:
            model = request.get("model") if isinstance(request, dict) else None
            self.lane = lanes.model_part(model, "embed" if job.__name__ == "embed" else "chat")
        if self.payload is None:
            self.payload = encode({"t": None, "f": job.__name__, "a": [request], "k": {}, "et": ENQUEUED_MS})
        self.ctx = a_context(
            llm,
            redis=self.redis,
            totals=self.totals,
            limits=self.limits,
            job_try=self.tries_used + 1,
            lane=self.lane,
            limit_keys=_limit_keys(self.lane, defaults),
            payload=self.payload,
            has_run=self.has_run,
            keep=self.kept.update,
            shut=self.shut,
        )
        data = decode(self.payload)
        try:
            return await job(self.ctx, *data["a"], **data["k"])
        except Retry as retry:
            self.has_run = True
            await self.remember()
            self.tries_used += not isinstance(retry, Throttled)
            raise
        except JobError as error:
            if error.retryable:  # a dead letter, which takes them along
                await self.remember()
            raise
        except Reroute as moved:
            self.has_run = True
            await self.remember()
            self.lane, self.payload = moved.lane, moved.payload or self.payload
            raise
        finally:
            if self.kept:
                await self.redis.hset("mill:parts:j1", mapping=self.kept)

    async def hand_back(self) -> None:
        """What becomes of a run that was cancelled as its worker ends."""
        self.has_run = True
        await self.remember()

    async def remember(self) -> None:
        """As the script that takes the run's outcome."""
        for attempt in sorted(self.ctx.meter.attempts, key=lambda told: told.number):
            await self.redis.rpush("mill:attempts:j1", to_json(attempt))

    async def crash(
        self, *, began_s: float = ENQUEUED_MS / 1000, seen_s: float = ENQUEUED_MS / 1000 + 20
    ) -> None:
        """What the claim of a run leaves whose worker before has died."""
        self.has_run = True
        await self.redis.rpush("mill:crashes:j1", f"{seen_s * 1000:.0f} mill:{began_s * 1e6:.0f}:host:7:abc")


@pytest.fixture
def run(redis: AnyRedis) -> Runs:
    return Runs(redis)


def _limit_keys(lane: str, defaults: dict[str, str]) -> tuple[str, ...]:
    """As the claim finds them (keys_of in client/lua/names.lua)."""
    first, *rest = lane.split("|")
    alias, _, name = first.partition("/")
    if default := defaults.get(alias):
        first = f"{provider_of(default)}/{name}" if name else default
    return tuple(filter(None, (first, provider_of(first), *rest)))
