"""A provider whose port can be closed."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any

from aiohttp import web


class Door:
    """A provider whose port can be closed. Each call has a connection of its own."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embed)
        self._runner = web.AppRunner(app, access_log=None)
        self._site: web.SockSite | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def open(self) -> None:
        if self._runner.server is None:
            await self._runner.setup()
        listening = socket.create_server(("127.0.0.1", self._port), backlog=512)
        self._port = listening.getsockname()[1]
        self._site = web.SockSite(self._runner, listening)
        await self._site.start()

    async def shut(self) -> None:
        """Calls that are in flight are answered."""
        assert self._site is not None
        await self._site.stop()

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _chat(self, request: web.Request) -> web.Response:
        prompt = (await request.json())["messages"][-1]["content"]
        self.calls[prompt] += 1
        await asyncio.sleep(0.05)
        choice = {"message": {"role": "assistant", "content": prompt}, "finish_reason": "stop"}
        return self._answer({"model": "away", "choices": [choice]})

    async def _embed(self, request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        self.calls.update(texts)
        return self._answer(
            {"model": "away", "data": [{"index": n, "embedding": [0.5]} for n, _ in enumerate(texts)]}
        )

    def _answer(self, body: dict[str, Any]) -> web.Response:
        return web.json_response(body, headers={"connection": "close"})
