"""What a call really used, in the six words that the scripts settle (settle in client/limits/lua/congestion.lua).

    1 250 0.0005 40 ok 0

Requests, tokens and dollars that were reserved and not used, which are given back, or taken where below 0; the output
tokens it wrote, -1 where unknown; how the provider answered; the wait it asked for, ms, or, of a call that was never
sent (`unreached`), how long its connection took to fail.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Signal: TypeAlias = Literal["ok", "refused", "overloaded", "unreached", "-"]

UNUSED = "unused"  # in place of the words: all that a call has reserved is given back


def use(
    requests: int = 0,
    tokens: int = 0,
    usd: float = 0.0,
    *,
    output_tokens: int | None = None,
    signal: Signal = "-",
    wait_s: float | None = None,
) -> str:
    output = -1 if output_tokens is None else output_tokens
    return f"{requests} {tokens} {usd:.12g} {output} {signal} {round((wait_s or 0) * 1000)}"


NOTHING = use()  # to settle
