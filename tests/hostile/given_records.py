"""A fleet of one worker, whole but for its provider, and ten healthy jobs beside whatever stands in Redis."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import date
from typing import Any

import httpx
from arq.worker import func

from client import Job, MillError, Queue
from client.redis.connection import connect
from client.redis.url import server_address
from client.wire.keys import KEYS
from settings import ProviderSettings, Settings
from tests.conftest import Server, wait_until
from tests.engine.rig import Engines
from tests.hostile.strange_records import MODEL, TALK, VICTIM, Strange
from worker.calls import LLM, OwnPrices
from worker.jobs import SERVICES, JobContext, Services, user_job
from worker.jobs.learn import Learner
from worker.jobs.slots import PatientLimits
from worker.jobs.totals import Totals
from worker.limits import publish
from worker.options import OURS
from worker.streams import Relay

SERVED_S = 5.0  # within which healthy jobs end
SAID_LINES = 12  # that a worker may log because of one strange record
PLAIN = {
    "id": "r",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}
NO_PRICES: OwnPrices = {}
LIMITS = {"host/m": {"concurrency": 2, "rpm": 6_000, "tpm": 9_000_000}, "pool": {"concurrency": 1}}


def _answer(request: httpx.Request) -> httpx.Response:
    asked = json.loads(request.content)
    if asked["model"] == "odd":
        return httpx.Response(429, json={"error": {"message": "slow down"}}, headers={"retry-after": "1"})
    if not asked.get("stream"):
        return httpx.Response(200, json=PLAIN)
    delta = {
        "id": "r",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}],
    }
    return httpx.Response(200, text=f"data: {json.dumps(delta)}\n\ndata: [DONE]\n\n")


async def echo(ctx: Any, said: object) -> object:
    return said


async def slotted(ctx: Any) -> str:
    async with ctx.limits.slot("pool"):
        return "had one"


class Said(logging.Handler):
    """What the worker has logged, from WARNING on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class Fleet:
    """The worker, a client, and hands of a stranger."""

    def __init__(self, server: Server) -> None:
        self.server, self.engines, self.said, self.gate = server, Engines(), Said(), asyncio.Event()
        provider = ProviderSettings.model_validate(
            {"base_url": "http://host.test/v1", "api_key": "k", "kind": "openai"}
        )
        self.settings = Settings(
            _env_file=None, providers={"host": provider}, default_model="host/m", max_tries=2
        )

    async def __aenter__(self) -> Fleet:
        self.queue = Queue.from_url(self.server.url)
        self.redis: Any = connect(server_address(self.server.url))
        logging.getLogger().addHandler(self.said)
        jobs = [user_job(func(echo, name="echo"), 2), user_job(func(slotted, name="slotted"), 2)]
        self.engine = await self.engines.start(
            self.server, *OURS, *jobs, func(self._held, name="held"), make_context=JobContext,
            models=("host/m", "host/m"), on_startup=self._equip, on_shutdown=self._close, on_data_lost=self._publish,
            max_tries=2, lease_s=3, max_jobs=50, health_check_interval=1,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engines.close()
        logging.getLogger().removeHandler(self.said)
        await self.redis.aclose()
        await self.queue.close()

    async def _equip(self, ctx: dict[Any, Any]) -> None:
        redis, http = ctx["redis"], httpx.AsyncClient(transport=httpx.MockTransport(_answer), trust_env=False)
        learner, llm = Learner(redis, NO_PRICES), LLM(self.settings, http)
        limits = PatientLimits(redis, connect(server_address(self.server.url), max_connections=1, retries=0))
        ctx[SERVICES] = Services(redis, KEYS, learner, Totals(redis), Relay(redis, KEYS), llm, limits)

    async def _publish(self, ctx: dict[Any, Any]) -> None:
        await publish(ctx["redis"], self.settings, {})

    async def _close(self, ctx: dict[Any, Any]) -> None:
        await ctx[SERVICES].close()

    async def _held(self, ctx: Any) -> str:
        """A job that runs when the stranger comes."""
        await self.gate.wait()
        return "held"

    # -- an example ----------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Nothing is there but the limits, and the worker claims nothing yet."""
        self.engine.allow_pick_jobs = False
        self.gate.set()  # an example may have been given up while its victim ran
        await wait_until(lambda: not self.engine.held, description="the jobs of before have ended")
        self.gate.clear()
        epoch = await self.redis.get(KEYS.epoch)
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.flushdb()
            pipe.hset(KEYS.limits, mapping={key: json.dumps(limit) for key, limit in LIMITS.items()})
            if epoch:
                pipe.set(KEYS.epoch, epoch, px=60_000)
            await pipe.execute()
        self.said.lines.clear()

    async def start_victims(self, *, running: bool) -> list[Job[Any]]:
        """Jobs that the stranger's record may be of: one that waits or runs, and one whose provider refuses."""
        first = await self.queue.enqueue(
            "held" if running else "echo", *(() if running else (1,)), _job_id=VICTIM
        )
        terms: dict[str, Any] = {"tenant": "odd", "conversation": TALK.partition(":")[2], "deadline_s": 60}
        second = await self.queue.chat("Hi", model=MODEL, job_id=f"{VICTIM}-2", stream=True, **terms)
        if running:
            await self.serve()
            await wait_until(lambda: VICTIM in self.engine.runs, description="the victim runs")
        return [first, second]

    async def enqueue_healthy(self) -> list[Job[Any]]:
        queue = self.queue
        return [
            await queue.enqueue("echo", 1),
            await queue.enqueue("echo", 2, _lane="a"),
            await queue.enqueue("echo", 3, _tenant="t"),
            *[await queue.enqueue("echo", n, _conversation="c") for n in (4, 5)],
            *[await queue.enqueue("slotted") for _ in range(2)],
            await queue.chat("Hi"),
            await queue.chat("Hi", stream=True),
            await queue.chat("Hi", tenant="t", limits=["pool"]),
        ]

    async def serve(self) -> None:
        self.engine.allow_pick_jobs = True
        self.engine._woken.set()

    async def do(self, strange: Strange) -> None:
        """What the stranger does; a command that Redis refuses has done nothing."""
        seconds, micros = await self.redis.time()
        now, today, mine = str(seconds * 1000 + micros // 1000), f"{date.today():%Y-%m-%d}", self._channel()

        def told(word: Any) -> Any:
            if isinstance(word, str):
                word = word.encode("utf-8", "surrogateescape")
            return (
                word.replace(b"NOW", now.encode()).replace(b"TODAY", today.encode()).replace(b"CALLS", mine)
            )

        async with self.redis.pipeline(transaction=False) as pipe:
            for command in strange.commands:
                pipe.execute_command(*map(told, command))
            await pipe.execute(raise_on_error=False)

    def _channel(self) -> bytes:
        channel: str = self.engine.ctx[SERVICES].limits._calls.channel
        return channel.removeprefix(KEYS.calls_channel("")).encode()

    # -- what must hold ------------------------------------------------------------------------------

    async def serves(self, healthy: Iterable[Job[Any]]) -> None:
        """All healthy jobs end well in time; the worker lives, and says little."""
        self.gate.set()
        await self.serve()
        results = await asyncio.gather(*(job.result(SERVED_S) for job in healthy))
        assert results[:7] == [1, 2, 3, 4, 5, "had one", "had one"]
        assert [answer.text for answer in results[7:]] == ["Hello"] * 3
        assert self.engine.main_task is not None
        assert not self.engine.main_task.done()
        assert not any(room.done() for room in self.engine._rooms)
        assert len(self.said.lines) <= SAID_LINES, "\n".join(self.said.lines)
        assert not [line for line in self.said.lines if "Traceback" in line], "\n".join(self.said.lines)


async def followed(job: Job[Any], limit_s: float = SERVED_S) -> list[str]:
    """The kinds of the events of its stream, as far as they come."""
    kinds: list[str] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            async for event in job.stream():
                kinds.append(event.kind)
    return kinds


async def decently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """What a reader is told: a value, or a typed error in one sentence."""
    try:
        async with asyncio.timeout(2 * SERVED_S):
            return await ask()
    except (MillError, asyncio.CancelledError) as error:
        return error
