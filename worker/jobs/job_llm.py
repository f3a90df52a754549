"""`ctx.llm` of a job of one's own: an LLM that also asks within the limits of the fleet, and keeps the ledger."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import count
from typing import Any

from client.errors import InvalidRequest, JobError, SlotTimeout
from client.limits.rules import estimate
from client.limits.rules.lanes import model_key
from client.limits.rules.refusal import was_unreached
from client.wire.schemas import ChatRequest
from promptmill.dialects import ChatAnswer, Route
from worker.context import Meter, Prompt

from .call import Call, add_up
from .request import read_request
from .retries import backoff_s
from .services import JobContext


class JobLLM:
    """The worker's LLM, all its verbs, as one run of a job sees it."""

    def __init__(self, ctx: JobContext) -> None:
        self._ctx, self._llm, self._numbers = ctx, (llm := ctx.services.llm), count(1)
        self.chat, self.chat_stream, self.embed = llm.chat, llm.chat_stream, llm.embed
        self.settings = llm.settings

    async def ask(
        self,
        model: str | None,
        prompt: Prompt,
        /,
        *limits: str,
        tokens: int | None = None,
        wait_s: float | None = None,
        **fields: Any,
    ) -> ChatAnswer:
        """See worker.context.Asks."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        data = {"model": model, "messages": messages, **fields}
        request = read_request(ChatRequest, data, InvalidRequest, "This cannot be asked")
        route = self._llm.chat_route(request.model)
        if tokens is None:
            tokens = estimate.input_tokens(request) + estimate.output_tokens(request)
        keys, failures = (model_key(str(route)), *limits), 0
        unreached: JobError | None = None
        until_s: float | None = None  # monotonic
        while True:
            try:
                return await self._once(request, route, keys, tokens, wait_s)
            except SlotTimeout as timeout:
                raise unreached or timeout from None
            except JobError as error:
                now_s, failures, unreached = time.monotonic(), failures + 1, error
                until_s = until_s or now_s + self.settings.unreachable_s
                if not was_unreached(error) or now_s >= until_s:
                    raise
            await asyncio.sleep(backoff_s(failures, random.random()))  # noqa: S311  jitter, not a secret

    async def _once(
        self, request: ChatRequest, route: Route, keys: tuple[str, ...], tokens: int, wait_s: float | None
    ) -> ChatAnswer:
        """One physical call under a slot of its own."""
        meter = Meter()
        async with self._ctx.limits.slot(*keys, tokens=tokens, wait_s=wait_s) as slot:
            call = Call(self._ctx, route, next(self._numbers), meter)
            try:
                answer = await call.make(self.chat(request, call_id=call.id))
            except (JobError, asyncio.CancelledError):
                used = (meter.tokens, meter.usd) if meter.called else (0, 0.0)
                slot.settle(tokens=used[0], usd=used[1])
                raise
            else:
                slot.settle(answer.usage, usd=meter.usd)
            finally:
                add_up(self._ctx.meter, meter, signals=keys[0] in self._ctx.limit_keys)
        return answer
