"""A provider that keeps the truth: which worker asked for what, when each call began, and how it ended.

It speaks OpenAI's form on a loopback port. A prompt begins with its own name, which is its job's id and,
for jobs that ask several, which of them: `own-3/2`, `vectors-7#4`. The key of a request is its worker's name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from time import monotonic
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from tests.soak import answers
from tests.soak.plan import ALPHA, BACKLOG, BETA, VECTORS
from tests.soak.record import Call, Ending, Record

LATENCY_S = {ALPHA: (0.2, 0.8), BETA: (0.2, 0.8), BACKLOG: (0.6, 1.0), VECTORS: (0.1, 0.6)}
# Of all calls, how many are spoilt
FAULTS: dict[Ending, float] = {"429": 0.03, "503": 0.01, "500": 0.015, "cut": 0.01}
OVERLOADED = 0.6  # of the calls while it is overloaded
SLOW = 0.03  # take this many times as long:
SLOW_TIMES = 5
QUICK_S = 0.02
_MESSAGES = {"429": "Slow down.", "503": "No room.", "500": "It broke."}


class Provider:
    """`record.calls` is what it saw. `well`: it spoils no call; `quick`: it answers all at once."""

    def __init__(self, record: Record, dice: Random) -> None:
        self.well = False
        self.quick = False
        self.overloaded = False
        self._record, self._dice = record, dice
        self._open: dict[Call, web.Request] = {}
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        self._site: web.SockSite | None = None
        self._port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Provider]:
        await self._runner.setup()
        await self.accept()
        try:
            yield self
        finally:
            await self._runner.cleanup()

    async def accept(self) -> None:
        listening = socket.create_server(("127.0.0.1", self._port), backlog=512)
        self._port = listening.getsockname()[1]
        self._site = web.SockSite(self._runner, listening)
        await self._site.start()

    async def refuse(self) -> None:
        """Takes no connection until `accept`, and cuts those it has."""
        assert self._site is not None
        await self._site.stop()
        assert self._runner.server is not None
        for call in list(self._open):
            self._end(call, "cut")
        for handler in self._runner.server.connections:
            if handler.transport is not None:
                handler.transport.abort()

    def open_calls(self, worker: str) -> int:
        return sum(call.worker == worker for call in self._open)

    # -- calls ---------------------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body["messages"][-1]["content"].split()[0]
        call = self._begin(request, prompt, body["model"])
        text = answers.text(prompt)
        if body.get("stream"):
            return await self._served(request, call, self._stream(request, call, text))
        return await self._served(request, call, self._whole(request, call, _completion(call, text)))

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        texts = body["input"]
        call = self._begin(request, texts[0], body["model"])
        return await self._served(request, call, self._whole(request, call, _vectors(call, texts)))

    async def _served(self, request: web.Request, call: Call, serving: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await serving
            return response
        except (asyncio.CancelledError, ConnectionError):
            self._end(call, "hung up")
            raise

    async def _whole(self, request: web.Request, call: Call, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(self._latency_s(call))
        spoilt = self._spoilt()
        self._end(call, spoilt or "completed")
        return self._refusal(request, spoilt) if spoilt else web.Response(body=to_json(body))

    async def _stream(self, request: web.Request, call: Call, text: str) -> web.StreamResponse:
        words = text.split(" ")
        pause_s, spoilt = self._latency_s(call) / (len(words) + 1), self._spoilt()
        await asyncio.sleep(pause_s)
        if spoilt and spoilt != "cut":
            self._end(call, spoilt)
            return self._refusal(request, spoilt)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for at, word in enumerate(words):
            if spoilt and at == len(words) // 2:
                self._end(call, "cut")
                return self._abort(request, response)
            await response.write(_event(call, {"content": word if at == 0 else f" {word}"}))
            await asyncio.sleep(pause_s)
        self._end(call, "completed")
        await response.write(_event(call, {}, "stop") + _usage_event(call) + b"data: [DONE]\n\n")
        return response

    def _begin(self, request: web.Request, prompt: str, model: str) -> Call:
        worker = request.headers["authorization"].removeprefix("Bearer ")
        job_id = prompt.replace("#", "/").split("/")[0]
        call = Call(prompt, job_id, f"soak/{model}", worker, monotonic())
        self._record.calls.append(call)
        self._open[call] = request
        return call

    def _end(self, call: Call, ending: Ending) -> None:
        """The first ending counts."""
        if self._open.pop(call, None) is not None:
            call.ending, call.ended_s = ending, monotonic()

    # -- faults --------------------------------------------------------------------------------------

    def _latency_s(self, call: Call) -> float:
        if self.quick:
            return QUICK_S
        latency_s = self._dice.uniform(*LATENCY_S[call.model])
        return latency_s * (SLOW_TIMES if self._dice.random() < SLOW else 1)

    def _spoilt(self) -> Ending | None:
        if self.well:
            return None
        if self.overloaded and self._dice.random() < OVERLOADED:
            return "503"
        roll = self._dice.random()
        for ending, share in FAULTS.items():
            if roll < share:
                return ending
            roll -= share
        return None

    def _refusal(self, request: web.Request, spoilt: Ending) -> web.StreamResponse:
        if spoilt == "cut":
            return self._abort(request, web.Response())
        told = {"retry-after": "1"} if spoilt == "429" and self._dice.random() < 0.3 else {}
        body = to_json({"error": {"message": _MESSAGES[spoilt], "type": "soak"}})
        return web.Response(status=int(spoilt), body=body, headers=told)

    def _abort(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return response


def _usage(call: Call) -> dict[str, int]:
    return {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}


def _completion(call: Call, text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": call.prompt, "model": _name(call), "choices": [choice], "usage": _usage(call)}


def _vectors(call: Call, texts: list[str]) -> dict[str, Any]:
    data = [{"index": at, "embedding": answers.vector(text)} for at, text in enumerate(texts)]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"model": _name(call), "data": data, "usage": usage}


def _event(call: Call, delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + to_json({"id": call.prompt, "model": _name(call), "choices": [choice]}) + b"\n\n"


def _usage_event(call: Call) -> bytes:
    return b"data: " + to_json({"id": call.prompt, "choices": [], "usage": _usage(call)}) + b"\n\n"


def _name(call: Call) -> str:
    return call.model.removeprefix("soak/")
