"""explain.lua: what it tells agrees with what admits, and it writes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from redis.exceptions import ResponseError

from client import Limit
from client.limits.calls import Ticket
from client.limits.explain import Seen, found
from client.redis.scripts import scripts
from client.redis.texts import whole
from client.wire.reservation import reserving
from tests.conftest import KEYS, Server
from tests.server.limits_room import LimitsRoom, limited
from tests.server.test_engine_room import LIFE_MS, ids, payload

KEY = "openai/gpt-4o"
DAY_MS = 86_400_000


@pytest.fixture
async def room(server: Server) -> AsyncIterator[LimitsRoom]:
    async with limited(server) as room:
        yield room


def put(room: LimitsRoom, tokens: int) -> None:
    """A job that reserves so many tokens."""
    room.put("a", lane=KEYS.lane(KEY))
    room.raw.set(KEYS.job("a"), reserving(payload("a"), tokens, -1), px=LIFE_MS)


async def seen(room: LimitsRoom) -> Seen:
    return (await found(room.pool, KEYS, "a", KEYS.lane(KEY), KEYS.queue)).keys[0]


def given(room: LimitsRoom, limit: dict[str, Any], flow: dict[str, float], in_use: int = 0) -> None:
    """A key with such a limit, such a state and so many holders. 'day' counts from today, moments from now."""
    now_ms = room.now_ms()
    moments = {"day": now_ms // DAY_MS} | dict.fromkeys(
        ("cool_ms", "half_ms", "slow_ms", "req_ms", "tok_ms"), now_ms
    )
    holders = {f"j{n}": now_ms + 9_000_000 for n in range(in_use)}
    room.limit(KEY, **limit)
    room.set_flow(KEY, unused=0, **{name: value + moments.get(name, 0) for name, value in flow.items()})
    room.raw.zadd(KEYS.slots(KEY), {"lapsed": now_ms - 1, **holders})
    room.raw.pexpire(KEYS.slots(KEY), LIFE_MS)


FREE: dict[str, float] = {"unpriced": 1}
CASES: list[tuple[dict[str, Any], dict[str, float], int, int, str, str]] = [
    ({"paused": True, "concurrency": 0}, FREE, 0, 0, "paused", "it is paused"),
    ({"concurrency": 0}, FREE, 0, 0, "concurrency", "it is closed by concurrency=0"),
    ({}, {"cool_ms": 3_245}, 0, 0, "cooldown", "it cools down for another 3.2 s"),
    (
        {},
        {"cool_n": 1, "cool_ms": -900, "half_ms": -800},
        0,
        0,
        "cooldown",
        "after its cooldown, one call goes first",
    ),
    ({"concurrency": 50}, FREE, 50, 0, "concurrency", "50 of 50 slots are in use"),
    ({"concurrency": 5_000}, {"eff": 1_200.5}, 1_300, 0, "concurrency", "1,300 of 1,200 slots are in use"),
    ({"concurrency": 10}, {"slow_ms": -500}, 5, 0, "concurrency", "5 of 5 slots are in use"),
    ({"rpm": 600}, {"req": -5, "req_ms": 0}, 0, 0, "requests", "its 600 requests a minute are used"),
    ({"tpm": 100_000}, {"tok": -5_000, "tok_ms": 0}, 0, 51, "tokens", "its 100,000 tokens a minute are used"),
    ({"rpd": 250}, {"day_req": 250, "day": 0}, 0, 0, "budget", "250 of 250 requests of today are used"),
    ({"tpd": 1_000}, {"day_tok": 990, "day": 0}, 0, 11, "budget", "990 of 1,000 tokens of today are used"),
    ({"usd_total": 10}, {"usd": 9.99, "in_usd": 0.02}, 0, 1, "budget", "9.99 of 10.00 USD are spent"),
    (
        {"usd_per_day": 5},
        {"day_usd": 5, "day": 0, "in_usd": 0.01},
        0,
        1,
        "budget",
        "5.00 of 5.00 USD of today are spent",
    ),
    (
        {"usd_total": 0.0015},
        {"usd": 0.001, "in_usd": 1},
        0,
        1,
        "budget",
        "0.001000 of 0.001500 USD are spent",
    ),
    ({"usd_total": 10}, {}, 1, 1, "budget", "the model's price is learned from one call first"),
    ({"usd_total": 10}, {"usd": 11}, 1, 1, "budget", "11.00 of 10.00 USD are spent"),
]


@pytest.mark.parametrize(
    ("limit", "flow", "in_use", "tokens", "reason", "detail"), CASES, ids=[row[5] for row in CASES]
)
async def test_a_full_key_says_why(
    room: LimitsRoom,
    limit: dict[str, Any],
    flow: dict[str, float],
    in_use: int,
    tokens: int,
    reason: str,
    detail: str,
) -> None:
    put(room, tokens)
    given(room, limit, flow, in_use)
    assert (await seen(room)).blocked == (reason, detail)


@pytest.mark.parametrize(
    ("limit", "flow", "in_use", "tokens"),
    [
        ({}, {}, 0, 10**9),
        ({"concurrency": 50}, {}, 49, 0),
        ({"rpm": 600}, {"req": 0.5, "req_ms": -50}, 0, 0),
        ({"tpm": 100_000}, {"tok": 10_000, "tok_ms": 0}, 0, 50_000),  # larger than the bucket
        ({"tpm": 100_000}, {"tok": 50, "tok_ms": 0}, 0, 50),
        ({"tpd": 1_000}, {"day_tok": 990, "day": 0}, 0, 10),
        ({}, {"cool_n": 2, "cool_ms": -1_200, "half_ms": -1_100}, 0, 0),
    ],
)
async def test_a_key_with_room_is_not_blocked(
    room: LimitsRoom, limit: dict[str, Any], flow: dict[str, float], in_use: int, tokens: int
) -> None:
    put(room, tokens)
    given(room, limit, flow, in_use)
    assert (await seen(room)).blocked is None


@pytest.mark.parametrize(
    ("head", "model", "tokens", "usd"),
    [
        ((90, 10), None, 100, 0),
        ((90, 10), {}, 100, None),
        ((90, 10), {"in_usd": 0.01, "out_usd": 0.02}, 100, 1.1),
        ((90, 10), {"unpriced": 1, "in_usd": 0.01}, 100, 0),
        ((90, 0), {"out": 40.2, "unpriced": 1}, 131, 0),
        ((90, -1), {"out": 40.2, "unpriced": 1}, 90, 0),
        ((), {}, 0, 0),
    ],
)
async def test_what_a_job_is_reckoned_to_use(
    room: LimitsRoom, head: tuple[int, ...], model: dict[str, float] | None, tokens: int, usd: float | None
) -> None:
    text = whole(
        "-- needs: room\nreturn cjson.encode({ estimate(cjson.decode(ARGV[1]), read_reservation(ARGV[2])) })",
        "client.limits",
        KEYS,
    )
    record = reserving(payload("a"), *head) if head else payload("a")
    keys = [] if model is None else [{"model": True, **model}]
    reckoned = json.loads(room.raw.eval(text, 0, json.dumps(keys), record))
    assert reckoned == [tokens] if usd is None else reckoned == [tokens, pytest.approx(usd)]


def a_limit(dice: Random) -> Limit:
    """Slow rates, so that a millisecond more or less decides nothing."""
    choices: dict[str, list[Any]] = {
        "concurrency": [0, 1, 2, 10],
        "rpm": [1, 6],
        "tpm": [60, 600],
        "rpd": [1, 5],
        "tpd": [100, 1_000],
        "usd_per_day": [0, 1],
        "usd_total": [5],
        "paused": [True],
    }
    return Limit(**{name: dice.choice(of) for name, of in choices.items() if dice.random() < 0.25})


def a_flow(dice: Random) -> dict[str, float]:
    moments: list[float] = [-60_000, 60_000]
    choices: dict[str, list[float]] = {
        "eff": [0.4, 1.9, 30],
        "cool_ms": moments,
        "cool_n": [0, 2],
        "half_ms": moments[:1],
        "slow_ms": moments[:1],
        "rpm_seen": [3],
        "tpm_seen": [60],
        "day": [0, -100],
        "day_tok": [95],
        "day_usd": [0.5, 2],
        "usd": [4, 6],
        "in_usd": [0.06],
        "unpriced": [1],
    }
    flow = {name: dice.choice(of) for name, of in choices.items() if dice.random() < 0.3}
    if "cool_ms" not in flow:  # they come together
        flow.pop("cool_n", None)
    left_in: dict[str, list[float]] = {"req": [-1, 0.5, 3], "tok": [-50, 0, 5, 40]}
    for name, left in left_in.items():
        if dice.random() < 0.5:
            flow |= {name: dice.choice(left), f"{name}_ms": 0}
    return flow


async def test_a_key_is_full_to_the_reader_where_the_claim_finds_it_full_and_nowhere_else(
    room: LimitsRoom,
) -> None:
    dice, outcomes = Random(4), set()
    for _ in range(400):
        room.raw.flushdb()
        limit, flow, holders = a_limit(dice), a_flow(dice), dice.choice([0, 1, 2, 10])
        tokens = dice.choice([0, 4, 10, 100])
        put(room, tokens)
        given(room, limit.fields(), flow, holders)
        blocked = (await seen(room)).blocked
        taken = ids(await room.claim())
        assert taken == ([] if blocked else ["a"]), (limit, flow, holders, tokens, blocked)
        outcomes.add(blocked and blocked.reason)
    assert outcomes == {None, "paused", "cooldown", "concurrency", "requests", "tokens", "budget"}


@pytest.mark.parametrize("who", ["job", "call"])
async def test_it_writes_nothing(room: LimitsRoom, who: str) -> None:
    put(room, 50)
    given(
        room,
        {"concurrency": 2, "rpm": 60},
        {"cool_n": 1, "cool_ms": -5_000, "half_ms": -4_000, "req": 9, "req_ms": 0},
        1,
    )
    await room.claim()
    put(room, 50)
    room.limit("openai", concurrency=0)
    await room.claim()
    ticket = str(Ticket("!p-1", KEYS.calls_channel("p"), (KEY, "openai"), 5, 15))

    def everything() -> dict[bytes, tuple[bytes, int]]:
        return {key: (room.raw.dump(key), room.raw.pexpiretime(key)) for key in room.raw.scan_iter()}

    before, asked = everything(), ("a", KEYS.lane(KEY), KEYS.queue) if who == "job" else (ticket,)
    told = await found(room.pool, KEYS, *asked)
    assert [key.blocked and key.blocked.reason for key in told.keys] == ["concurrency", "concurrency"]
    assert everything() == before


async def test_wrong_arguments_are_refused(room: LimitsRoom) -> None:
    (script,) = scripts(room.pool, "client.limits", KEYS, "explain")
    for args in ([], ["a", ""], ["a", "", "h"]):
        with pytest.raises(ResponseError, match="explain: "):
            await script(args=args)
