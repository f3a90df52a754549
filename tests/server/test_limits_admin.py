"""Limits that are set, seeded and listed while a fleet runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from client import InvalidRequest, Limit, Queue, SyncQueue
from tests.conftest import KEYS, AnyRedis, Server, wait_until

FAR = 9_999_999_999_999  # Unix ms
TTL_MS = 60_000


async def server_ms(queue: Queue) -> int:
    seconds, micros = await queue.session.redis.time()
    return int(seconds * 1000 + micros // 1000)


async def wait_for(queue: Queue, key: str, *who: str) -> None:
    """What the claim leaves where a lane or a call finds a key full."""
    await queue.session.redis.zadd(KEYS.blocked(key), {one: 1 + at for at, one in enumerate(who)})
    await queue.session.redis.pexpire(KEYS.blocked(key), TTL_MS)
    await queue.session.redis.zadd(KEYS.gates, {key: FAR})


async def hold(queue: Queue, key: str, **leases_ms: int) -> None:
    """Slots whose leases end so many milliseconds from now."""
    now_ms = await server_ms(queue)
    await queue.session.redis.zadd(KEYS.slots(key), {id_: now_ms + ms for id_, ms in leases_ms.items()})
    await queue.session.redis.pexpire(KEYS.slots(key), TTL_MS)


async def flow(queue: Queue, key: str, **fields: Any) -> None:
    redis: AnyRedis = queue.session.redis
    await redis.hset(KEYS.flow(key), mapping=fields)
    await redis.pexpire(KEYS.flow(key), TTL_MS)


async def looked_at(queue: Queue) -> set[str]:
    """The limit keys whose gate is due."""
    due = await queue.session.redis.zrangebyscore(KEYS.gates, 0, await server_ms(queue))
    return {key.decode() for key in due}


async def stored(queue: Queue) -> dict[str, str]:
    redis: AnyRedis = queue.session.redis
    return {key.decode(): text.decode() for key, text in (await redis.hgetall(KEYS.limits)).items()}


# -- set, remove, pause, resume --------------------------------------------------------------------------


async def test_a_field_is_set_beside_the_others_and_taken_away_again(any_queue: Queue) -> None:
    limits = any_queue.limits
    assert await limits.set("OpenAI/gpt-4o", concurrency=50) == Limit(concurrency=50)
    assert await limits.set("openai/gpt-4o", rpm=600) == Limit(concurrency=50, rpm=600)
    assert await stored(any_queue) == {"openai/gpt-4o": '{"concurrency":50,"rpm":600}'}
    assert await limits.set("openai/gpt-4o", concurrency=None) == Limit(rpm=600)
    assert await limits.set("openai/gpt-4o", rpm=None) == Limit()
    assert await stored(any_queue) == {}


async def test_what_cannot_be_a_limit_is_refused_and_changes_nothing(any_queue: Queue) -> None:
    wrong: dict[str, dict[str, Any]] = {"a b": {"rpm": 1}, "a": {"rpm": 0}, "b": {"colour": 1}, "c": {}}
    for key, fields in wrong.items():
        with pytest.raises(InvalidRequest):
            await any_queue.limits.set(key, **fields)
    with pytest.raises(InvalidRequest):
        await any_queue.limits.evict("tenant:*")
    assert await stored(any_queue) == {}


async def test_a_limit_is_removed_once(any_queue: Queue) -> None:
    await any_queue.limits.set("tenant:*", concurrency=5)
    assert await any_queue.limits.remove("tenant:*")
    assert not await any_queue.limits.remove("tenant:*")


async def test_a_pause_keeps_the_other_fields_and_leaves_nothing_of_itself(any_queue: Queue) -> None:
    limits = any_queue.limits
    await limits.set("a", rpm=6)
    assert await limits.pause("a") == Limit(rpm=6, paused=True)
    assert await limits.resume("a") == Limit(rpm=6)
    await limits.pause("b")
    assert (await stored(any_queue))["b"] == '{"paused":true}'
    await limits.resume("b")
    assert await stored(any_queue) == {"a": '{"rpm":6}'}


async def test_resume_ends_a_cooldown_and_forgets_nothing_else(any_queue: Queue) -> None:
    await flow(any_queue, "a", cool_ms=FAR, cool_n=3, eff=7)
    await wait_for(any_queue, "a", KEYS.lane("a"))
    await any_queue.limits.resume("a")
    redis: AnyRedis = any_queue.session.redis
    assert await redis.hgetall(KEYS.flow("a")) == {b"eff": b"7"}
    assert await looked_at(any_queue) == {"a"}


async def test_changes_of_many_at_once_all_count(queue: Queue) -> None:
    limits = queue.limits
    await asyncio.gather(
        limits.set("a", rpm=1), limits.set("a", tpm=2), limits.set("a", concurrency=3), limits.pause("a")
    )
    assert await stored(queue) == {"a": '{"concurrency":3,"rpm":1,"tpm":2,"paused":true}'}


async def test_a_change_wakes_whoever_waits_for_its_key_and_no_other(any_queue: Queue) -> None:
    await wait_for(any_queue, "tenant:a", KEYS.lane("m|tenant:a"))
    await wait_for(any_queue, "tenant:b", KEYS.lane("m|tenant:b"))
    await wait_for(any_queue, "tenants", KEYS.lane("tenants"))
    await any_queue.limits.set("tenant:a", concurrency=2)
    assert await looked_at(any_queue) == {"tenant:a"}
    await any_queue.limits.set("tenant:c", concurrency=2)  # nobody waits for it
    assert await any_queue.session.redis.zscore(KEYS.gates, "tenant:c") is None
    await any_queue.limits.set("tenant:*", concurrency=2)
    assert await looked_at(any_queue) == {"tenant:a", "tenant:b"}


@pytest.fixture
async def wakes(queue: Queue) -> AsyncIterator[list[bytes | int]]:
    """What workers hear."""
    heard: list[bytes | int] = []
    pubsub = queue.session.redis.pubsub()
    await pubsub.subscribe(KEYS.wake_channel)

    async def listen() -> None:
        async for message in pubsub.listen():
            heard.append(message["data"])

    task = asyncio.create_task(listen())
    await wait_until(lambda: heard == [1], description="the subscription")
    heard.clear()
    yield heard
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await pubsub.aclose()  # type: ignore[no-untyped-call]


async def test_each_change_wakes_the_workers(queue: Queue, wakes: list[bytes | int]) -> None:
    await queue.limits.set("a", rpm=1)
    await queue.limits.evict("a")
    await queue.limits.seed({"b": Limit(rpm=2)})
    await wait_until(lambda: wakes == [b""] * 3, description="three wakes")


# -- evict ---------------------------------------------------------------------------------------------


async def test_one_holder_or_all_lose_their_slots(any_queue: Queue) -> None:
    await hold(any_queue, "a", j1=10_000, j2=10_000, j3=10_000, lapsed=-10_000)
    await wait_for(any_queue, "a", KEYS.lane("a"))
    assert await any_queue.limits.evict("a", "j2") == 1
    assert await any_queue.limits.evict("a", "j2") == 0
    assert await looked_at(any_queue) == {"a"}
    assert await any_queue.limits.evict("a") == 2
    assert await any_queue.limits.evict("a") == 0
    (state,) = await any_queue.limits.list()
    assert state.in_use == 0


# -- seed ----------------------------------------------------------------------------------------------

ONE, TWO, THREE = Limit(rpm=1), Limit(rpm=2), Limit(rpm=3)


async def test_settings_are_put_in_force_once(any_queue: Queue) -> None:
    seed = any_queue.limits.seed
    assert await seed({"A/x": ONE, "b": TWO}) == ["a/x", "b"]
    assert await seed({"A/x": ONE, "b": TWO}) == []
    assert await stored(any_queue) == {"a/x": '{"rpm":1}', "b": '{"rpm":2}'}


async def test_a_run_time_change_outlives_a_restart_with_the_same_settings(any_queue: Queue) -> None:
    limits = any_queue.limits
    await limits.seed({"a": ONE, "b": ONE})
    await limits.set("a", rpm=9)
    await limits.remove("b")
    assert await limits.seed({"a": ONE, "b": ONE}) == []
    assert await stored(any_queue) == {"a": '{"rpm":9}'}


async def test_changed_settings_win_over_a_run_time_change(any_queue: Queue) -> None:
    limits = any_queue.limits
    await limits.seed({"a": ONE})
    await limits.set("a", rpm=9)
    assert await limits.seed({"a": TWO}) == ["a"]
    assert await stored(any_queue) == {"a": '{"rpm":2}'}


async def test_a_limit_that_left_the_settings_goes_unless_it_was_changed_since(any_queue: Queue) -> None:
    limits = any_queue.limits
    await limits.seed({"a": ONE, "b": ONE})
    await limits.set("b", rpm=9)
    assert await limits.seed({}) == ["a"]
    assert await stored(any_queue) == {"b": '{"rpm":9}'}
    assert not await any_queue.session.redis.exists(KEYS.limits_seeded)
    assert await limits.seed({}) == []


async def test_a_limit_that_only_the_cli_knows_is_no_business_of_the_settings(any_queue: Queue) -> None:
    await any_queue.limits.set("mine", rpm=5)
    await any_queue.limits.seed({"a": ONE})
    await any_queue.limits.seed({})
    assert await stored(any_queue) == {"mine": '{"rpm":5}'}


async def test_seeding_opens_the_gates_of_what_it_changed(any_queue: Queue) -> None:
    await any_queue.limits.seed({"b": ONE})
    for key in ("a", "b", "tenant:x", "tenants"):
        await wait_for(any_queue, key, KEYS.lane(f"{key}"))
    await any_queue.limits.seed({"b": ONE, "a": TWO, "tenant:*": THREE})
    assert await looked_at(any_queue) == {"a", "tenant:x"}


@pytest.mark.parametrize("verb", ["seed", "change", "evict"])
async def test_a_script_refuses_what_it_was_not_made_for(any_queue: Queue, verb: str) -> None:
    script = getattr(any_queue.limits, f"_{verb}")
    with pytest.raises(Exception, match=f"{verb}: "):
        await script(args=["b"])


# -- reset -------------------------------------------------------------------------------------------------


async def test_a_reset_begins_budgets_anew_and_leaves_the_rest(any_queue: Queue) -> None:
    now_ms = await server_ms(any_queue)
    spent = {"day": now_ms // 86_400_000, "day_req": 9, "day_tok": 8, "day_usd": "0.5", "usd": "2.5"}
    await flow(any_queue, "tenant:a", eff=7, **spent)
    await flow(any_queue, "tenant:b", **spent)
    await wait_for(any_queue, "tenant:a", KEYS.lane("a"))
    assert await any_queue.limits.reset("tenant:a") is True
    assert await any_queue.limits.reset("tenant:a") is False
    a, b = await any_queue.limits.list("tenant:*")
    assert (a.requests_today, a.tokens_today, a.usd_today, a.usd_total, a.effective) == (0, 0, 0, 0, 7)
    assert (b.requests_today, b.tokens_today, b.usd_today, b.usd_total) == (9, 8, 0.5, 2.5)
    assert await looked_at(any_queue) == {"tenant:a"}
    with pytest.raises(InvalidRequest):
        await any_queue.limits.reset("tenant:*")
    with pytest.raises(Exception, match="reset: a limit key"):
        await any_queue.limits._reset(args=[])


# -- list ----------------------------------------------------------------------------------------------


async def test_a_key_is_listed_with_all_that_is_known_of_it(any_queue: Queue) -> None:
    queue, key = any_queue, "openai/gpt-4o"
    await queue.limits.set(key, concurrency=50, rpm=600, tpm=60_000)
    now_ms = await server_ms(queue)
    today = {"day": now_ms // 86_400_000, "day_tok": 1_234, "day_usd": "0.5", "usd": "2.5"}
    bucket = {"req": 0, "req_ms": now_ms + 60_000, "tok": -100, "tok_ms": now_ms + 60_000}  # not refilled yet
    await flow(queue, key, eff="12.7", cool_ms=now_ms + 60_000, **today, **bucket)
    await hold(queue, key, j1=10_000, j2=10_000, lapsed=-1)
    lanes = {KEYS.lane(f"{key}|tenant:{name}"): name for name in "ab"}
    for lane in lanes:
        await queue.session.redis.zadd(lane, {"due": 1, "due too": 2, "runs": FAR})
        await queue.session.redis.pexpire(lane, TTL_MS)
    await wait_for(queue, key, *lanes, "!call|1")

    (state,) = await queue.limits.list()

    assert (state.key, state.limit.concurrency, state.source) == (key, 50, "own")
    assert (state.effective, state.in_use, state.waiting, state.blocked_lanes) == (12, 2, 5, 2)
    assert 59 < state.cooldown_s <= 60
    assert (state.rpm, state.tpm) == (600, 60_000)
    assert state.requests_left is not None
    assert state.requests_left <= 0
    assert state.tokens_left is not None
    assert state.tokens_left <= -100
    assert (state.tokens_today, state.usd_today, state.usd_total, state.paused) == (1_234, 0.5, 2.5, False)


async def test_the_waiting_jobs_of_a_paused_key_are_counted_though_no_worker_has_looked(
    any_queue: Queue,
) -> None:
    queue = any_queue
    await queue.session.redis.hset(KEYS.aliases, mapping={"@chat": "openai/gpt-4o"})  # type: ignore[misc]
    await queue.session.redis.pexpire(KEYS.aliases, TTL_MS)
    for key in ("tenant:acme", "openai"):
        await queue.limits.pause(key)
    await queue.chat_many(["hi"] * 3, tenant="acme")
    await queue.chat("hi", tenant="acme", defer_s=60)
    await queue.chat("hi")
    states = {state.key: (state.waiting, state.paused) for state in await queue.limits.list()}
    assert states == {"openai": (4, True), "tenant:acme": (3, True)}


async def test_what_the_settings_say_is_told_where_it_was_changed_since(any_queue: Queue) -> None:
    limits = any_queue.limits
    await limits.seed({name: Limit(rpm=6) for name in ("changed", "removed", "same")})
    await limits.set("changed", rpm=7)
    await limits.set("new", rpm=8)
    await limits.remove("removed")
    await flow(any_queue, "old", usd=1)
    told = {state.key: (state.source, state.overridden) for state in await limits.list()}
    assert told == {
        "changed": ("own", "rpm=6"),
        "new": ("own", None),
        "old": ("none", None),
        "removed": ("none", "rpm=6"),
        "same": ("own", None),
    }


async def test_what_is_configured_waited_for_or_used_is_listed_by_name(any_queue: Queue) -> None:
    queue = any_queue
    await queue.limits.set("tenant:*", concurrency=5)
    await queue.limits.pause("own")
    await wait_for(queue, "tenant:waited", KEYS.lane("x"))
    await hold(queue, "conversation:1", j1=10_000)
    await flow(queue, "openai/x", eff=3)
    rows = {state.key: (state.source, state.limit.words()) for state in await queue.limits.list()}
    assert list(rows.items()) == [
        ("conversation:1", ("default", "concurrency=1")),
        ("openai/x", ("none", "")),
        ("own", ("own", "paused=true")),
        ("tenant:*", ("own", "concurrency=5")),
        ("tenant:waited", ("tenant:*", "concurrency=5")),
    ]
    assert [state.key for state in await queue.limits.list("tenant:*")] == ["tenant:*", "tenant:waited"]
    assert [state.key for state in await queue.limits.list("own")] == ["own"]


async def test_nothing_is_listed_on_an_empty_server(any_queue: Queue) -> None:
    assert await any_queue.limits.list() == []


def test_a_script_or_a_console_uses_the_same_verbs(server: Server) -> None:
    with SyncQueue.from_url(server.url) as queue:
        assert queue.limits.set("a", rpm=1) == Limit(rpm=1)
        assert queue.limits.pause("a").paused
        assert queue.limits.resume("a") == Limit(rpm=1)
        assert [state.key for state in queue.limits.list()] == ["a"]
        assert queue.limits.evict("a") == 0
        assert queue.limits.remove("a")
