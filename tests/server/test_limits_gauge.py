"""The client's reading of a limit key agrees with the script that admits."""

from __future__ import annotations

from random import Random
from typing import Any

from client import Limit, Queue
from client.limits.rules.gauge import Gauge, flow_of
from client.redis.scripts import whole
from client.wire.keys import KEYS
from tests.server.test_limits_admin import TTL_MS, server_ms

KEY = "openai/gpt-4o"
FULL = """
-- needs: room
local s = state_of(ARGV[1])
local free = room(s)
if free >= 1 and not short_of(s, tonumber(ARGV[2]), tonumber(ARGV[3])) then return 0 end
return 1
"""


def a_limit(dice: Random) -> Limit:
    """Slow rates, so that a millisecond more or less decides nothing."""
    choices: dict[str, list[Any]] = {
        "concurrency": [0, 1, 2, 10],
        "rpm": [1, 6],
        "tpm": [60, 600],
        "tpd": [100, 1_000],
        "usd_per_day": [0, 1],
        "usd_total": [5],
        "paused": [True],
    }
    return Limit(**{name: dice.choice(of) for name, of in choices.items() if dice.random() < 0.25})


def a_flow(dice: Random, now_ms: int) -> dict[str, float]:
    moments: list[float] = [now_ms - 60_000, now_ms + 60_000]
    choices: dict[str, list[float]] = {
        "eff": [0.4, 1.9, 30],
        "cool_ms": moments,
        "cool_n": [0, 2],
        "half_ms": moments[:1],
        "slow_ms": moments[:1],
        "rpm_seen": [3],
        "tpm_seen": [60],
        "day": [now_ms // 86_400_000, 1],
        "day_tok": [95],
        "day_usd": [0.5, 2],
        "usd": [4, 6],
    }
    flow = {name: dice.choice(of) for name, of in choices.items() if dice.random() < 0.3}
    if "cool_ms" not in flow:  # they come together
        flow.pop("cool_n", None)
    buckets: dict[str, list[float]] = {"req": [-1, 0.5, 3], "tok": [-50, 0, 5, 40]}
    for name, left in buckets.items():
        if dice.random() < 0.5:
            flow |= {name: dice.choice(left), f"{name}_ms": now_ms}
    return flow


async def test_a_key_that_the_script_finds_full_is_full_to_the_reader_and_no_other(queue: Queue) -> None:
    redis, dice = queue.session.redis, Random(4)
    script = redis.register_script(whole(FULL, "client.limits", KEYS))
    outcomes = set()
    for _ in range(400):
        now_ms, limit = await server_ms(queue), a_limit(dice)
        flow, holders = a_flow(dice, now_ms), dice.choice([0, 1, 2, 10])
        tokens, usd = dice.choice([0, 4, 10, 100]), dice.choice([None, 0, 0.6])
        async with redis.pipeline(transaction=True) as write:
            write.delete(KEYS.flow(KEY), KEYS.slots(KEY))
            write.hset(KEYS.limits, KEY, limit.to_json())
            write.hset(KEYS.flow(KEY), mapping={"in_usd": 1, **flow})
            write.zadd(
                KEYS.slots(KEY), {"lapsed": now_ms - 1, **{f"j{n}": now_ms + 9e6 for n in range(holders)}}
            )
            write.pexpire(KEYS.flow(KEY), TTL_MS)
            write.pexpire(KEYS.slots(KEY), TTL_MS)
            write.hgetall(KEYS.flow(KEY))
            *_, row = await write.execute()
        full = await script([], [KEY, tokens, "" if usd is None else usd])
        blocked = Gauge(limit, flow_of(row), holders, now_ms).blocked(tokens, usd)
        assert bool(full) == (blocked is not None), (limit, flow, holders, tokens, usd, blocked)
        outcomes.add(blocked and blocked.reason)
    assert outcomes == {None, "paused", "cooldown", "concurrency", "requests", "tokens", "budget"}
