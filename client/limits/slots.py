"""A slot for a call of one's own: `async with limits.slot("openai/gpt-4o", tokens=900): …`"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from dataclasses import replace
from itertools import count
from types import TracebackType
from uuid import uuid4

from redis.asyncio import Redis

from ..errors import InvalidRequest, SlotLost
from ..redis.connection import keys_at
from ..wire.lane import provider_of
from ..wire.schemas import Usage
from ..wire.use import Signal, use
from .calls import CallScripts, Grant, Ticket
from .grants import Grants
from .holds import Hold, Holds
from .rules.lanes import checked_key, model_part
from .rules.refusal import refusal_s, was_unreached

LEASE_S = 15.0  # how long a slot outlives its process
SHORTEST_LEASE_S = 1.0
MAX_TOKENS = 2**31

_inside: ContextVar[Slot | None] = ContextVar("promptmill_slot", default=None)


class Calls:
    """What the calls of a process share. Opens no connection before somebody waits."""

    def __init__(self, redis: Redis, signals: Redis) -> None:
        process = uuid4().hex[:16]
        scripts = CallScripts(redis, keys_at(redis))
        self.channel = keys_at(redis).calls_channel(process)
        self.holds = Holds(scripts)
        self.grants = Grants(scripts, signals, self.holds, self.channel)
        self._signals = signals if signals is not redis else None
        self._ids = (f"!{process}-{number}" for number in count(1))

    def block(
        self,
        names: Sequence[str],
        held: Collection[str],
        *,
        tokens: int,
        wait_s: float | None,
        lease_s: float,
        here: Callable[[], Calls] | None = None,
    ) -> SlotBlock:
        """The block for a slot of all `names` but those that are `held`; `here` are the calls of the loop in which
        it is entered. Raises InvalidRequest."""
        if isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 <= tokens <= MAX_TOKENS:
            raise InvalidRequest(f"tokens is a whole number, 0 or more, not {tokens!r}.")
        if wait_s is not None and not wait_s >= 0:
            raise InvalidRequest(f"wait_s is a number of seconds, 0 or more, or None, not {wait_s!r}.")
        if not SHORTEST_LEASE_S <= lease_s < float("inf"):
            raise InvalidRequest(f"lease_s is {SHORTEST_LEASE_S:g} s or more, not {lease_s!r}.")
        wanted = tuple(key for key in keys_of(names) if key not in held)
        ticket = Ticket(next(self._ids), self.channel, wanted, tokens, lease_s)
        return SlotBlock(here or (lambda: self), Slot(Hold(ticket) if wanted else None), wait_s)

    async def close(self) -> None:
        """Gives back what is held; whoever waits gets QueueUnavailable."""
        await self.grants.close()
        await self.holds.close()
        if self._signals is not None:
            await self._signals.aclose()


class Slot:
    """A call's slots, as its block sees them. What it tells of the call is settled when the block ends.

    A block that ends well means that the provider has answered. RateLimited and Overloaded that leave it
    mean a refusal, and so does the error of an SDK that has a `response` of status 429, 503 or 529. An error by which
    nothing was sent means that the provider cannot be reached.
    """

    def __init__(self, hold: Hold | None) -> None:
        self._hold = hold  # None: all its keys are held by the job that runs
        self._tokens: int | None = None
        self._output: int | None = None
        self._usd: float | None = None
        self._signal: Signal = "-"
        self._wait_s = 0.0
        self._began_s = 0.0  # monotonic
        self.held = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The limit keys it has taken."""
        return self._hold.ticket.keys if self._hold else ()

    @property
    def lost(self) -> bool:
        """It was taken away, or had lapsed and another call has it."""
        return self._hold is not None and self._hold.is_lost

    def settle(
        self, usage: Usage | None = None, /, *, tokens: int | None = None, usd: float | None = None
    ) -> None:
        """What the call has really used: `usage` as the answer tells it, or `tokens`, input and output together.

        What is not told, or unknown, counts as it was reserved. The last telling holds.
        """
        if usage is not None and usage.output_tokens is not None:
            self._output = usage.output_tokens
            if tokens is None and usage.input_tokens is not None:
                tokens = usage.input_tokens + usage.output_tokens
        self._tokens = self._tokens if tokens is None else tokens
        self._usd = self._usd if usd is None else usd

    def answered(self) -> None:
        """The provider has answered. Implied where the block ends well."""
        self._signal = "ok"

    def refused(self, retry_after_s: float | None = None) -> None:
        """The provider refused with 429, 503 or 529: its model cools down, for as long as it asked where it did."""
        self._signal, self._wait_s = "refused", retry_after_s or 0.0

    def unreached(self, took_s: float) -> None:
        """Nothing could be sent: the model cools down. The connection took so long to fail."""
        self._signal, self._wait_s = "unreached", took_s

    def _ended(self, error: BaseException | None) -> None:
        if self._signal != "-":
            return
        if error is None:
            self.answered()
        elif (wait_s := refusal_s(error)) is not None:
            self.refused(wait_s)
        elif was_unreached(error):
            self.unreached(time.monotonic() - self._began_s)

    def _use(self, grant: Grant) -> str:
        """The words that release.lua takes."""
        free = self._signal in ("refused", "unreached")  # nothing is paid for
        tokens = 0 if free and self._tokens is None else self._tokens
        usd = 0.0 if free and self._usd is None else self._usd
        less_tokens = 0 if tokens is None else grant.tokens - tokens
        less_usd = 0.0 if usd is None else grant.usd - usd
        return use(
            int(self._signal == "unreached"),
            less_tokens,
            less_usd,
            output_tokens=self._output,
            signal=self._signal,
            wait_s=self._wait_s,
        )


class SlotBlock:
    """What `limits.slot(…)` returns, for one `async with`."""

    def __init__(self, here: Callable[[], Calls], slot: Slot, wait_s: float | None) -> None:
        self._here = here
        self._wait_s = wait_s
        self._slot = slot
        self._outer: Slot | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._cancelled = False
        self._used = False

    async def enter(self) -> Slot:
        """Takes the slots. For those who leave by `leave`, and are cancelled by nobody."""
        if self._used:
            raise InvalidRequest("A slot is for one block: ask limits.slot(…) for another.")
        self._used = True
        hold = self._slot._hold
        if hold is not None:
            self._calls = self._here()
            hold.ticket = replace(hold.ticket, channel=self._calls.channel)
            hold.lose = self._lose
            await self._calls.grants.take(hold, self._wait_s)
            self._slot.held = True
        self._slot._began_s = time.monotonic()
        return self._slot

    async def leave(self, error: BaseException | None) -> None:
        """Gives them back, and settles."""
        slot, hold = self._slot, self._slot._hold
        slot._ended(error)
        slot.held = False
        if hold is not None:
            await self._calls.holds.release(hold, slot._use(hold.grant))

    def check(self) -> None:
        """Raises InvalidRequest where whoever asks has a slot already."""
        self._outer = _inside.get()
        if self._slot.keys and self._outer is not None and self._outer.held:
            raise InvalidRequest(
                f"This code has a slot of {self._outer.keys[0]} and asks for one of {self._slot.keys[0]}: who "
                "holds one while it waits for another can wait for ever. Leave the first block before, also "
                "for tasks that start in it, or name all keys in one slot."
            )

    def begin(self) -> None:
        """From here on, whatever is called belongs to the block."""
        if self._slot.held:
            _inside.set(self._slot)

    def end(self) -> None:
        if self._slot.held:
            _inside.set(self._outer)

    def raise_lost(self, cause: BaseException | None = None) -> None:
        if self._slot.lost:
            key = self._slot.keys[0]
            why = "it was taken away, or lapsed before it was renewed"
            raise SlotLost(f"The slot of {key} was lost: {why}.", key=key) from cause

    async def __aenter__(self) -> Slot:
        self.check()
        slot = await self.enter()
        if slot.held:
            self._task = asyncio.current_task()
            self._cancelling = self._task.cancelling() if self._task else 0
        self.begin()
        return slot

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None  # from here on nobody cancels it
        self.end()
        ours = False
        if self._cancelled and task is not None:  # as asyncio.timeout: a cancellation of others goes on
            ours = task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError)
        await self.leave(error)
        if ours:
            self.raise_lost(error)

    def _lose(self) -> None:
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()


def keys_of(names: Sequence[str]) -> tuple[str, ...]:
    """The limit keys of a call: a model first, then its provider. Raises InvalidRequest."""
    models = {name: provider for name in map(checked_key, names) if (provider := provider_of(name))}
    if len(models) > 1:
        raise InvalidRequest(f"A slot is for one model, not for {' and '.join(models)}.")
    first = [key for name, provider in models.items() for key in (model_part(name, "chat"), provider.lower())]
    return tuple(dict.fromkeys((*first, *(name for name in names if name not in models))))
