"""`ctx["llm"]` of a job of one's own: an LLM that also asks within the limits of the fleet, and keeps the books."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from pydantic import ValidationError

from client.errors import InvalidRequest
from client.limits.rules import estimate
from client.limits.rules.lanes import model_key
from client.wire.schemas import ChatRequest, Message
from promptmill.dialects import ChatAnswer, summarise
from worker.engine.meter import Meter

from . import attempts, metering
from .attempts import Failed

Prompt = str | Sequence[Message | dict[str, Any]]


class JobLLM:
    """The worker's LLM, all its verbs, as one run of a job sees it."""

    def __init__(self, ctx: dict[str, Any]) -> None:
        self._ctx = ctx
        self._llm = ctx["llm"]
        self._numbers = count(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llm, name)

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
        """One physical call under a slot of its own, in the totals of what calls cost: `(await ask(…)).text`

        `model` None is DEFAULT_MODEL, `prompt` a user's words or messages, `limits` more limit keys, `tokens`
        what is reserved (the estimate of the input, and max_tokens, by default), `wait_s` how long to wait for
        the slot (SlotTimeout afterwards), and `fields` those of a ChatRequest, such as max_tokens. Not
        retried: a job that lets the error escape runs again as a whole. Raises ProviderError,
        ProviderNotConfigured, SlotTimeout, InvalidRequest. Cancelling it closes the connection.
        """
        request = _request(model, prompt, fields)
        route = self._llm.chat_route(request.model)
        key, meter = model_key(str(route)), Meter()
        if tokens is None:
            tokens = estimate.input_tokens(request) + estimate.output_tokens(request)
        async with self._ctx["limits"].slot(key, *limits, tokens=tokens, wait_s=wait_s) as slot:
            try:
                made = await attempts.make(
                    self._ctx,
                    route,
                    next(self._numbers),
                    lambda call_id: self._llm.chat(request, call_id=call_id),
                    meter,
                )
                slot.settle(made.answer.usage, usd=meter.usd)
            except Failed as failed:
                slot.settle(
                    tokens=meter.tokens if meter.called else 0, usd=meter.usd if meter.called else 0.0
                )
                raise failed.error from None
            finally:
                metering.add(self._ctx["meter"], _beside(meter, key in self._ctx["limit_keys"]))
        answer: ChatAnswer = made.answer
        return answer


def _request(model: str | None, prompt: Prompt, fields: dict[str, Any]) -> ChatRequest:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    try:
        return ChatRequest.model_validate({"model": model, "messages": messages, **fields})
    except ValidationError as error:
        reason = summarise(error)
    raise InvalidRequest(f"This cannot be asked: {reason}.")


def _beside(meter: Meter, held: bool) -> Meter:
    """For the job's own meter: what the call's slot signals of its model is not signalled again."""
    if held:
        return meter
    return replace(meter, answered=False, refused=False, overloaded=False, refused_s=None)
