"""Workers and calls are admitted, renew, finish and die in any order under limits that change: what must always
hold, always holds. FLOW_EXAMPLES=1000 searches for longer than CI does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from client.redis.connection import connect
from client.redis.url import server_address
from tests.conftest import KEYS, Server
from tests.server.limits_model import LANES, LEASE_MS, LIMIT_KEYS, Model
from tests.server.limits_room import LimitsRoom, used
from worker.engine.scripts import EngineScripts

EXAMPLES = int(os.environ.get("FLOW_EXAMPLES", "0"))
SHRINK = os.environ.get("FLOW_SHRINK") == "1"
WORKERS = ("w1", "w2", "w3")
ROUNDS = 400  # enough for all debts to be paid and all jobs to run one by one

which = st.integers(0, 1_000)
limits = st.fixed_dictionaries(
    {},
    optional={
        "concurrency": st.integers(0, 3),
        "rpm": st.sampled_from([20, 600]),
        "tpm": st.sampled_from([600, 6_000]),
        "weight": st.integers(1, 3),
        "paused": st.just(True),
    },
)
uses = st.sampled_from(
    [
        "",
        used(signal="ok"),
        used(signal="refused"),
        used(signal="refused", wait_ms=3_000),
        used(signal="overloaded"),
        used(requests=1, signal="unreached", wait_ms=2_000),
        used(requests=1, tokens=50),
        used(tokens=-5_000, output=40, signal="ok"),
    ]
)
verbs = st.sampled_from(["done", "done", "dead", "retry", "throttled", "again", "back", "reroute"])


class Flow(RuleBasedStateMachine):
    model: Model

    def __init__(self, start: Callable[[], Model]) -> None:
        super().__init__()
        self.model = start()
        self.workers: dict[str, set[str]] = {worker: set() for worker in WORKERS}  # jobs it knows it runs
        self.deaths = 0

    # -- jobs ---------------------------------------------------------------------------------------

    @rule(lane=st.sampled_from(LANES), count=st.integers(1, 4), tokens=st.sampled_from([0, 20, 90]))
    def jobs_come(self, lane: str, count: int, tokens: int) -> None:
        for _ in range(count):
            self.model.enqueue(lane, tokens)

    @rule(worker=st.sampled_from(WORKERS), want=st.integers(1, 6))
    def a_worker_claims(self, worker: str, want: int) -> None:
        claim = self.model.claim(f"{worker}.{self.deaths}", want)
        assert len(claim.jobs) <= want
        self.workers[worker] |= {job.lease.job_id for job in claim.jobs}

    @precondition(lambda self: self.model.given)
    @rule(which=which, verb=verbs, use=uses, delay_ms=st.sampled_from([0, 5_000]), to=st.sampled_from(LANES))
    def a_job_ends(self, which: int, verb: str, use: str, delay_ms: int, to: str) -> None:
        held = [h.job for h in self.model.holders.values() if h.job] or self.model.given
        self.model.finish(held[which % len(held)], verb, use, delay_ms, to)

    @precondition(lambda self: self.model.given)
    @rule(which=which, verb=verbs, use=uses)
    def a_job_ends_once_more_or_late(self, which: int, verb: str, use: str) -> None:
        self.model.finish(self.model.given[which % len(self.model.given)], verb, use, 0, LANES[0])

    @rule(worker=st.sampled_from(WORKERS))
    def a_worker_renews(self, worker: str) -> None:
        self.model.renew([job for job in self.model.given if job.lease.job_id in self.workers[worker]][-20:])

    @rule(worker=st.sampled_from(WORKERS))
    def a_worker_dies(self, worker: str) -> None:
        self.workers[worker] = set()
        self.deaths += (
            1  # whoever comes in its place has another name; so have the others, who know what they run
        )

    # -- calls of their own -------------------------------------------------------------------------

    @rule(names=st.lists(st.sampled_from(LIMIT_KEYS), min_size=1, max_size=3, unique=True), tokens=which)
    def a_call_asks(self, names: list[str], tokens: int) -> None:
        self.model.call(tuple(sorted(names)), tokens % 100)

    @precondition(lambda self: self.model.calls)
    @rule(which=which)
    def a_call_asks_again(self, which: int) -> None:
        self.model.ask(list(self.model.calls)[which % len(self.model.calls)])

    @precondition(lambda self: any(name[0] == "!" for name in self.model.holders))
    @rule(which=which, renews=st.booleans(), use=uses)
    def a_call_goes_on_or_ends(self, which: int, renews: bool, use: str) -> None:
        names = [name for name in self.model.holders if name.startswith("!")]
        name = names[which % len(names)]
        if renews:
            self.model.prolong(name)
        else:
            self.model.give_back(name, use)

    @precondition(lambda self: self.model.calls)
    @rule(which=which)
    def a_call_is_cancelled_while_it_waits(self, which: int) -> None:
        self.model.give_back(list(self.model.calls)[which % len(self.model.calls)], "")

    # -- what is around them ------------------------------------------------------------------------

    @rule(key=st.sampled_from(LIMIT_KEYS), limit=limits)
    def a_limit_changes(self, key: str, limit: dict[str, Any]) -> None:
        self.model.limit(key, limit)

    @rule(key=st.sampled_from(LIMIT_KEYS))
    def a_slot_is_taken_away(self, key: str) -> None:
        self.model.evict(key)

    @rule(ms=st.sampled_from([30, 700, 4_000, LEASE_MS + 1_000, 70_000]))
    def time_passes(self, ms: int) -> None:
        self.model.room.age(ms)

    @invariant()
    def what_always_holds(self) -> None:
        self.model.check()

    # -- the end ------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self._everybody_gets_a_turn()
        finally:
            self.model.close()

    def _everybody_gets_a_turn(self) -> None:
        model = self.model
        for key in LIMIT_KEYS:
            limit = {k: v for k, v in model.limits.get(key, {}).items() if k != "paused"}
            model.limit(key, limit | ({"concurrency": 1} if limit.get("concurrency") == 0 else {}))
        model.room.age(LEASE_MS + 1_000)
        for name in [name for name in model.holders if name.startswith("!")]:
            model.give_back(name, "")
        for _ in range(ROUNDS):
            if not (model.waiting or model.calls or model.holders):
                break
            jobs = model.claim("w1", 5).jobs
            for job in jobs:
                model.finish(job, "done", used(signal="ok"), 0, "")
            for name in [name for name in model.holders if name.startswith("!")]:
                model.give_back(name, "")
            model.check()
            model.room.age(50 if jobs else 2_000)
        assert (model.waiting, model.calls) == ({}, {}), "they wait for ever"
        model.claim("w1", 5)
        raw = model.room.raw
        assert raw.keys(KEYS.slots("*")) == []
        assert [lane for lane in raw.zrange(KEYS.lanes, 0, -1) if raw.exists(lane)] == []


def test_limits_hold_slots_never_leak_and_everybody_gets_a_turn(server: Server) -> None:
    with asyncio.Runner() as runner, server.client() as raw:
        pool = connect(server_address(server.url))
        room = LimitsRoom(server, raw, EngineScripts(pool, KEYS), pool)

        def start() -> Model:
            raw.flushall()
            room.aged_ms = 0
            room._aged_at.clear()
            return Model(room, runner)

        class StartedFlow(Flow):
            def __init__(self) -> None:
                super().__init__(start)

        profile = settings(
            max_examples=EXAMPLES or 25,
            stateful_step_count=60 if EXAMPLES else 40,
            derandomize=not EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        try:
            run_state_machine_as_test(StartedFlow, settings=profile)
        finally:
            runner.get_loop().run_until_complete(pool.aclose())
            raw.flushall()
