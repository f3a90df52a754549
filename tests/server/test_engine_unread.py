"""Jobs that our workers cannot read stay where they are, due, for a worker that can; they cost the others nothing."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from arq import Retry, func
from arq.connections import create_pool

from client import Queue, errors, redis_settings
from promptmill.cli.stats import read_stats
from tests.conftest import KEYS, Server, wait_until
from tests.engine.rig import Engines
from tests.server.test_engine_mixed import StockWorker
from tests.server.test_engine_room import LIFE_MS, Room, ids
from worker.engine.scripts import Claim

MANY = 10_000
SOON_S = 5

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning")  # by arq

STRANGE = {
    "a pickle": pickle.dumps({"t": None, "f": "work", "a": (1,), "k": {}, "et": 1}),
    "an old pickle": pickle.dumps({"t": None, "f": "work", "a": (1,), "k": {}, "et": 1}, protocol=0),
    "nothing": b"",
    "msgpack": b"\x85\xa1f\xa4work",
    "a list": b"[1]",
    "a broken object": b'{"f": "work"',
    "a field missing": b'{"f": "work", "a": [1], "k": {}, "t": null}',
    "a name that is a list": b'{"f": ["work"], "a": [1], "k": {}, "t": null, "et": 0}',
    "a time out of this world": b'{"f": "work", "a": [1], "k": {}, "t": null, "et": 999999999999999}',
}


@pytest.fixture
async def engines() -> Any:
    engines = Engines()
    yield engines
    await engines.close()


async def work(ctx: dict[str, Any], number: int = 0) -> int:
    return number


def put(room: Room, job_id: str, record: bytes, *, life_ms: int = LIFE_MS, lane: str = KEYS.queue) -> None:
    room.put(job_id, lane=lane)
    room.raw.set(KEYS.job(job_id), record, px=life_ms)


async def claim_overdue(room: Room) -> Claim:
    return await room.scripts.claim(KEYS.queue, "w1", want=9, lease_ms=LIFE_MS, hold_ms=LIFE_MS, overdue=True)


async def test_a_claim_passes_over_ten_thousand_of_them_once_and_then_at_no_cost(room: Room) -> None:
    names = [f"p{n}" for n in range(MANY)]
    room.put(*names)
    pipe = room.raw.pipeline(transaction=False)
    for name in names:
        pipe.set(KEYS.job(name), STRANGE["a pickle"], px=LIFE_MS)
    pipe.execute()
    room.put("ours")
    claims: list[Claim] = []
    while "ours" not in [name for claim in claims for name in ids(claim)]:
        claims.append(await room.claim(1))
        assert claims[-1].more or claims[-1].jobs, "the next claim comes at once"
    assert sum(claim.unread for claim in claims) == MANY
    assert len(claims) <= 12
    assert (
        room.raw.zcount(KEYS.queue, "-inf", room.now_ms()) == MANY
    )  # due, for a stock worker, in their order
    assert [name.decode() for name in room.raw.zrange(KEYS.queue, 0, 2)] == names[:3]
    assert not room.raw.exists(*map(KEYS.in_progress, names), *map(KEYS.retry, names))

    before = room.commands()
    claim = await room.claim(1)
    assert (claim.jobs, claim.unread, claim.more) == ([], 0, False)
    assert room.commands() - before < 40


async def test_a_job_of_stock_arq_keeps_its_deadline_also_when_its_id_comes_again(room: Room) -> None:
    put(room, "a", STRANGE["a pickle"], life_ms=60_000)
    await room.claim()
    member = f"{KEYS.queue}\na"
    first = room.score(KEYS.unreadable, member)
    assert first is not None
    assert abs(first - room.now_ms() - 60_000) < 1_000
    room.raw.zadd(KEYS.queue, {"a": 1})  # as a stock worker's retry, or arq's abort
    await room.claim()
    assert room.score(KEYS.unreadable, member) == first
    put(room, "a", STRANGE["a pickle"], life_ms=600_000)  # another job of its id
    await room.claim()
    assert (room.score(KEYS.unreadable, member) or 0) > first + 500_000


async def test_what_a_stock_worker_has_taken_is_forgotten_and_what_it_runs_is_left_to_it(room: Room) -> None:
    for name in ("taken", "runs"):
        put(room, name, STRANGE["a pickle"])
    await room.claim()
    room.raw.zrem(KEYS.queue, "taken")
    room.raw.set(KEYS.in_progress("runs"), b"1", px=60_000)
    for name in ("taken", "runs"):
        room.raw.zadd(KEYS.unreadable, {f"{KEYS.queue}\n{name}": 1})
    assert not (await claim_overdue(room)).jobs
    assert room.raw.zrange(KEYS.unreadable, 0, -1) == [f"{KEYS.queue}\nruns".encode()]
    room.raw.delete(KEYS.in_progress("runs"))
    room.raw.zadd(KEYS.unreadable, {f"{KEYS.queue}\nruns": 1})
    (job,) = (await claim_overdue(room)).jobs
    assert (job.score_ms < 0, job.payload) == (True, STRANGE["a pickle"])


@pytest.mark.parametrize("kind", STRANGE)
async def test_a_job_that_cannot_be_read_is_left_until_its_deadline_and_then_kept_as_a_dead_letter(
    kind: str, room: Room, engines: Engines, server: Server, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "arq.worker")
    put(room, "a", STRANGE[kind], life_ms=60_000)
    put(room, "b", STRANGE[kind], life_ms=60_000)
    engine = await engines.start(server, work)
    await wait_until(lambda: (room.score(KEYS.queue, "b") or 0) < 0, description="it is left alone")
    assert await (await queue.enqueue("work", 7)).result(SOON_S) == 7
    assert not room.raw.exists(KEYS.result("a"), KEYS.retry("a"), KEYS.in_progress("a"), KEYS.dead("a"))
    assert room.raw.get(KEYS.job("a")) == STRANGE[kind]
    assert (await read_stats(queue)).unreadable == 2
    assert (await read_stats(queue)).queued == 0
    assert (engine.jobs_failed, engine.jobs_retried) == (0, 0)
    assert caplog.text.count("for a worker that can read them") == 1

    room.raw.zadd(KEYS.unreadable, {f"{KEYS.queue}\na": room.now_ms()})
    with pytest.raises(errors.JobFailed, match=r"client\.Queue.*client\.encode") as raised:
        await queue.job("a").result(SOON_S)
    assert raised.value.error_type == "DeserializationError"
    letter = await queue.dead.get("a")
    assert (letter.unread or b"") == STRANGE[kind]
    assert (await read_stats(queue)).unreadable == 1
    assert await queue.dead.retry(["a"]) == (["a"] if STRANGE[kind] else [])  # for a worker that can read it


@pytest.mark.plain("arq's own clients and workers know no namespace")
async def test_each_side_runs_its_own_jobs_and_fails_none_of_the_others(
    engines: Engines, server: Server, queue: Queue
) -> None:
    ran: list[int] = []

    async def theirs(ctx: dict[str, Any], number: int) -> int:
        if ctx["job_try"] == 1 and number % 10 == 0:
            raise Retry(0.01)
        ran.append(number)
        return number

    async def enqueues_ours(ctx: dict[str, Any]) -> None:
        await ctx["redis"].enqueue_job("work", 5, _job_id="of a job")

    pool = await create_pool(redis_settings(server.url))
    there = [await pool.enqueue_job("theirs", number) for number in range(200)]
    await engines.start(server, work, enqueues_ours)
    here = [await queue.enqueue("work", number) for number in range(200)]
    await queue.enqueue("enqueues_ours")
    stock = StockWorker(
        functions=[func(theirs, name="theirs")],
        redis_settings=redis_settings(server.url),
        handle_signals=False,
        poll_delay=0.05,
    )
    running = asyncio.create_task(stock.async_run())
    assert [await job.result(10) for job in here] == list(range(200))
    assert await queue.job("of a job").result(SOON_S) == 5
    assert [await job.result(10) for job in there if job] == list(range(200))
    assert sorted(ran) == list(range(200))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await stock.close()
    await pool.aclose()
    assert stock.jobs_failed == 0
    assert await queue.dead.count() == 0
