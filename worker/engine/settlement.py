"""What a run reserved and what its calls really used → what the finish script settles. Pure."""

from __future__ import annotations

from worker.context import Meter

from .scripts import Claimed, Verb

METERED = "!"  # the claim's mark before a limit key that reckons with requests, tokens, dollars or refusals
_GIVEN_BACK: tuple[Verb, ...] = ("back", "reroute")


def use(claimed: Claimed, meter: Meter, verb: Verb) -> str:
    """The words that `settle` reads: requests, tokens and dollars to give back, output, signal, wait in ms.

    What was reserved and is not known to have been used stands where a request has gone out: it was
    probably paid for. Empty where there is nothing to settle.
    """
    if METERED not in claimed.lease.limit_keys:
        return ""
    requests, tokens, usd = 0, claimed.tokens, claimed.usd
    if meter.called:
        requests = 1 - meter.requests
        tokens = 0 if meter.tokens is None else claimed.tokens - meter.tokens
        usd = 0.0 if meter.usd is None else claimed.usd - meter.usd
    elif verb in _GIVEN_BACK or claimed.payload is None:  # it had expired
        requests = 1
    output = -1 if meter.output_tokens is None else meter.output_tokens
    signal = _refusal(meter) if meter.refused else "ok" if meter.answered else "-"
    wait_ms = round((meter.refused_s or 0) * 1000)
    words = f"{requests} {tokens} {usd:.12g} {output} {signal} {wait_ms}"
    return "" if words == "0 0 0 -1 - 0" else words


def _refusal(meter: Meter) -> str:
    return "overloaded" if meter.overloaded else "refused"


def keys_of(limit_keys: str) -> tuple[str, ...]:
    """The limit keys of a lease."""
    return tuple(key.removeprefix(METERED) for key in limit_keys.split("\n") if key)
