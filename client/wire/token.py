"""The fencing token of a run: `mill:{µs}:{worker}@{place}`: the server's moment of its claim, who claimed it, and the
job's place in its lane, a score as Redis writes it. Those of a version before end before the `@`.

Written by the claim (new_token in client/lua/names.lua, whose claimed_ms and is_ours read it); a later claim has a
later moment. Where a job's token begins in another way, a stock arq worker runs it.
"""

from __future__ import annotations


def with_place(token: str, place: str) -> str:
    """The token of one of the jobs that were claimed together."""
    return f"{token}@{place}"


def place_of(token: str) -> str:
    """The score at which the job was claimed."""
    return token.rpartition("@")[2]


def claimed_us(token: str | bytes) -> int:
    """When the run was claimed, Unix µs. Raises ValueError on a token of another kind."""
    kind, _, rest = (token if isinstance(token, str) else token.decode()).partition(":")
    if kind != "mill":
        raise ValueError(f"{token!r} is no token of ours")
    return int(rest.partition(":")[0])
