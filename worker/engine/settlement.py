"""What a run reserved and what its calls really used → what the finish script settles. Pure."""

from __future__ import annotations

from client.wire.limit_keys import is_metered
from client.wire.use import NOTHING, Signal
from client.wire.use import use as in_words
from worker.context import Meter

from .scripts import Claimed, Verb

_GIVEN_BACK: tuple[Verb, ...] = ("back", "reroute")


def use(claimed: Claimed, meter: Meter, verb: Verb) -> str:
    """What client/wire/use.py says; empty where there is nothing to settle.

    What was reserved and is not known to have been used stands where a request has gone out: it was
    probably paid for.
    """
    if not is_metered(claimed.lease.limit_keys):
        return ""
    requests, tokens, usd = 0, claimed.tokens, claimed.usd
    if meter.called:
        requests = 1 - meter.requests
        tokens = 0 if meter.tokens is None else claimed.tokens - meter.tokens
        usd = 0.0 if meter.usd is None else claimed.usd - meter.usd
    elif (
        verb in _GIVEN_BACK or claimed.payload is None or meter.unreached_s is not None
    ):  # expired, or never sent
        requests = 1
    signal, wait_s = _signal(meter)
    words = in_words(requests, tokens, usd, output_tokens=meter.output_tokens, signal=signal, wait_s=wait_s)
    return "" if words == NOTHING else words


def _signal(meter: Meter) -> tuple[Signal, float | None]:
    """What the run tells of its model, and the seconds that go with it."""
    if meter.refused:
        return "overloaded" if meter.overloaded else "refused", meter.refused_s
    if meter.unreached_s is not None:
        return "unreached", meter.unreached_s
    return "ok" if meter.answered else "-", None
