"""Admission in claim.lua: which jobs go under which limits, against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import KEYS, Server
from tests.server.limits_room import MODEL, LimitsRoom, limited
from tests.server.test_engine_room import LEASE_MS, ids

EVERYTHING = f"{MODEL}|tenant:acme|conversation:42|gpu-box"


@pytest.fixture
async def room(server: Server) -> AsyncIterator[LimitsRoom]:
    async with limited(server) as room:
        yield room


# -- all keys, or none -----------------------------------------------------------------------------


async def test_a_job_holds_a_slot_of_every_key_of_its_lane(room: LimitsRoom) -> None:
    room.calls(1, EVERYTHING)
    claim = await room.claim()
    (job,) = claim.jobs
    held = [MODEL, "openai", "tenant:acme", "conversation:42", "gpu-box"]
    assert [key.removeprefix("!") for key in job.lease.limit_keys.split("\n")] == held
    for key in held:
        assert room.score(KEYS.slots(key), "0") == claim.now_ms + LEASE_MS


@pytest.mark.parametrize("full", [MODEL, "openai", "tenant:acme", "gpu-box"])
async def test_where_one_key_is_full_nothing_is_taken_of_the_others(room: LimitsRoom, full: str) -> None:
    for key in (MODEL, "openai", "tenant:acme", "gpu-box"):
        room.limit(key, concurrency=0 if key == full else 9, rpm=600)
    room.calls(1, EVERYTHING)
    assert (await room.claim()).jobs == []
    assert room.raw.keys(KEYS.slots("*")) == []
    assert room.raw.keys(KEYS.flow("*")) == []
    assert room.raw.exists(KEYS.in_progress("0")) == 0


async def test_the_default_queue_has_no_limits(room: LimitsRoom) -> None:
    room.limit("arq:queue", concurrency=0)
    room.put("a")
    claim = await room.claim()
    assert [job.lease.limit_keys for job in claim.jobs] == [""]


@pytest.mark.parametrize("repeated", ["openai", MODEL])
async def test_a_key_that_a_lane_names_twice_is_asked_for_once(room: LimitsRoom, repeated: str) -> None:
    room.limit(repeated, concurrency=3, rpm=30)  # a burst of three
    room.calls(4, f"@chat|{repeated}")
    assert ids(await room.claim()) == ["0", "1", "2"]


async def test_a_tenant_with_a_slash_in_its_name_is_no_model(room: LimitsRoom) -> None:
    room.limit("tenant:a", concurrency=0)
    room.calls(1, "tenant:a/b")
    (job,) = (await room.claim()).jobs
    assert job.lease.limit_keys == "tenant:a/b"


# -- concurrency -----------------------------------------------------------------------------------


async def test_no_more_go_than_the_limit(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=3)
    room.calls(10)
    assert ids(await room.claim(2)) == ["0", "1"]
    assert ids(await room.claim(worker="w2")) == ["2"]
    claim = await room.claim(worker="w3")
    assert (claim.jobs, claim.more) == ([], False)


async def test_the_narrower_of_two_keys_decides_and_each_lane_has_its_own(room: LimitsRoom) -> None:
    room.limit("openai", concurrency=4)
    room.limit("openai/a", concurrency=3)
    room.limit("openai/b", concurrency=3)
    room.calls(9, "openai/a", "a")
    room.calls(9, "openai/b", "b")
    claim = await room.claim()
    assert sorted(ids(claim)) == ["a0", "a1", "b0", "b1"]
    await room.finish_all([job for job in claim.jobs if job.lease.job_id.startswith("a")])
    assert len((await room.claim()).jobs) == 2
    assert len(room.holders("openai")) == 4
    assert max(len(room.holders("openai/a")), len(room.holders("openai/b"))) <= 3


async def test_a_release_starts_as_many_as_it_frees_in_order(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=2)
    room.calls(6)
    first = await room.claim()
    await room.finish_all(first.jobs)
    assert ids(await room.claim()) == ["2", "3"]


async def test_a_lapsed_holder_frees_its_slot_and_its_job_runs_again(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=1)
    room.calls(2)
    await room.claim()
    room.age(LEASE_MS - 1_000)
    assert (await room.claim(worker="w2")).jobs == []
    room.age(1_001)
    (second,) = (await room.claim(worker="w2")).jobs  # it has waited for longer than the lease has lapsed
    assert (second.lease.job_id, room.holders(MODEL)) == ("1", {"1"})
    await room.finish(second.lease)
    (again,) = (await room.claim(worker="w2")).jobs
    assert (again.lease.job_id, again.crashes, room.holders(MODEL)) == ("0", 1, {"0"})


async def test_a_blocked_lane_is_looked_at_when_the_first_lease_ends(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=1)
    room.calls(2)
    first = await room.claim(lease_ms=5_000)
    claim = await room.claim()
    assert claim.jobs == []
    assert first.now_ms < claim.next_ms <= first.now_ms + 5_001


# -- limits are data -------------------------------------------------------------------------------


async def test_a_limit_below_its_holders_admits_nobody_until_they_have_gone(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=4)
    room.calls(9)
    jobs = (await room.claim()).jobs
    room.limit(MODEL, concurrency=2)
    for job in jobs[:2]:
        await room.finish(job.lease)
        assert (await room.claim()).jobs == []
    await room.finish(jobs[2].lease)
    assert ids(await room.claim()) == ["4"]


async def test_a_raised_limit_counts_at_the_next_claim(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=1)
    room.calls(9)
    assert len((await room.claim()).jobs) == 1
    room.limit(MODEL, concurrency=4)
    assert len((await room.claim()).jobs) == 3


async def test_a_limit_that_is_taken_away_limits_no_more(room: LimitsRoom) -> None:
    room.limit("tenant:a", concurrency=1)
    room.calls(100, "tenant:a")
    assert len((await room.claim()).jobs) == 1
    room.raw.hdel(KEYS.limits, "tenant:a")
    room.raw.zadd(KEYS.gates, {"tenant:a": room.now_ms()})
    assert len((await room.claim()).jobs) == 99


async def test_a_paused_key_admits_nobody_until_it_is_resumed(room: LimitsRoom) -> None:
    room.limit("openai", paused=True, concurrency=5)
    room.calls(2)
    claim = await room.claim()
    assert claim.jobs == []
    assert claim.next_ms - claim.now_ms > 50_000
    room.limit("openai", concurrency=5)
    assert ids(await room.claim()) == ["0", "1"]


async def test_the_turns_of_a_conversation_follow_one_another(room: LimitsRoom) -> None:
    room.calls(3, f"{MODEL}|conversation:1", "a")
    room.calls(3, f"{MODEL}|conversation:2", "b")
    assert sorted(ids(await room.claim())) == ["a0", "b0"]
    room.limit("conversation:*", concurrency=2)
    for number in "12":
        room.raw.zadd(KEYS.gates, {f"conversation:{number}": room.now_ms()})
    assert sorted(ids(await room.claim())) == ["a1", "b1"]


async def test_the_longest_pattern_wins_and_an_own_entry_over_all(room: LimitsRoom) -> None:
    room.limit("tenant:*", concurrency=1)
    room.limit("tenant:eu:*", concurrency=2)
    room.limit("tenant:eu:acme", concurrency=3)
    room.limit("other:*", concurrency=0)
    for tenant in ("tenant:us", "tenant:eu:x", "tenant:eu:acme", "tenants"):
        room.calls(4, tenant, tenant)
    claim = await room.claim()
    counts = [sum(job.lease.lane == KEYS.lane(name) for job in claim.jobs) for name in
              ("tenant:us", "tenant:eu:x", "tenant:eu:acme", "tenants")]  # fmt: skip
    assert counts == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("lane", "names"),
    [
        ("@chat", [MODEL, "openai"]),
        ("@embed", ["openai/embed", "openai"]),
        ("@chat/mini", ["openai/mini", "openai"]),
        ("@chat/a/b", ["openai/a/b", "openai"]),
        ("@other", ["@other"]),
        ("bulk|@chat", ["bulk", "@chat"]),
    ],
)
async def test_an_alias_stands_for_the_model_of_the_worker_that_claims(
    room: LimitsRoom, lane: str, names: list[str]
) -> None:
    room.calls(1, lane)
    (job,) = (await room.claim()).jobs
    assert [key.removeprefix("!") for key in job.lease.limit_keys.split("\n")] == names


# -- what waits costs nothing ----------------------------------------------------------------------


async def test_five_thousand_jobs_of_a_blocked_key_neither_delay_nor_cost_another(room: LimitsRoom) -> None:
    room.limit("tenant:a", concurrency=5)
    room.calls(5_000, f"{MODEL}|tenant:a", "a")
    assert len((await room.claim()).jobs) == 5
    await room.claim()
    room.calls(30, f"{MODEL}|tenant:b", "b")
    before = room.commands()
    claim = await room.claim(20)
    assert {job.lease.lane for job in claim.jobs} == {KEYS.lane(f"{MODEL}|tenant:b")}
    assert len(claim.jobs) == 20
    assert room.commands() - before < 60


async def test_ten_thousand_lanes_wait_for_one_key_and_a_release_lets_one_go(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=1)
    with room.raw.pipeline(transaction=False) as pipe:
        for n in range(10_000):
            pipe.set(KEYS.job(str(n)), b"{}", px=60_000)
            pipe.zadd(KEYS.lane(f"{MODEL}|tenant:{n}"), {str(n): n + 1})
            pipe.zadd(KEYS.lanes, {KEYS.lane(f"{MODEL}|tenant:{n}"): n + 1})
        pipe.execute()
    (job,) = (await room.claim()).jobs
    while (await room.claim()).more:
        pass
    assert room.raw.zcard(KEYS.blocked(MODEL)) == 9_999
    for n in range(3):
        before = room.commands()
        assert await room.finish(job.lease)
        claim = await room.claim()
        assert [job.lease.job_id for job in claim.jobs] == [str(n + 1)]
        (job,) = claim.jobs
        assert room.commands() - before < 100
        assert room.raw.zcard(KEYS.blocked(MODEL)) == 9_998 - n


async def test_a_claim_looks_at_sixty_four_lanes_at_most(room: LimitsRoom) -> None:
    room.limit(MODEL, concurrency=0)
    for n in range(200):
        room.calls(1, f"{MODEL}|tenant:{n}", f"{n}-")
    for parked in (64, 128, 192, 200):
        claim = await room.claim()
        assert room.raw.zcard(KEYS.blocked(MODEL)) == parked
        assert claim.more == (parked < 200)


async def test_many_keys_that_deserve_a_look_at_once_are_all_looked_at(room: LimitsRoom) -> None:
    room.limit("tenant:*", rpm=60)
    for n in range(100):
        room.calls(9, f"tenant:{n}", f"{n}-")
    while (await room.claim()).more:
        pass
    room.age(1_001)
    claim = await room.claim()
    taken = ids(claim)
    while claim.more:
        claim = await room.claim()
        taken += ids(claim)
    assert len(taken) == 100  # one for each tenant


async def test_admission_under_four_keys_costs_little_more_than_a_command_a_job(room: LimitsRoom) -> None:
    lane = f"{MODEL}|tenant:a|gpu-box"
    for key in (MODEL, "openai", "tenant:a", "gpu-box"):
        room.limit(key, concurrency=1_000, rpm=1_000_000)
    room.calls(202, lane)
    await room.finish((await room.claim(1)).jobs[0].lease)
    before = room.commands()
    jobs = (await room.claim(200)).jobs
    assert len(jobs) == 200
    assert room.commands() - before <= 200 + 60
    before = room.commands()
    await room.finish_all(jobs)
    assert room.commands() - before <= 200 * 5 + 40
