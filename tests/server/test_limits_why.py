"""Why a job waits, read from the server."""

from __future__ import annotations

from client import Queue
from tests.conftest import KEYS, AnyRedis
from tests.server.test_limits_admin import TTL_MS, hold, server_ms, wait_for


async def a_worker(queue: Queue) -> None:
    """A worker has reported, and said what its default models are."""
    await queue.session.redis.set(f"{queue.session.name}:health-check", "well", px=TTL_MS)
    redis: AnyRedis = queue.session.redis
    await redis.hset(KEYS.aliases, mapping={"@chat": "openai/gpt-4o", "@embed": "openai/e"})
    await queue.session.redis.pexpire(KEYS.aliases, TTL_MS)


async def test_a_job_waits_for_a_worker(any_queue: Queue) -> None:
    job = await any_queue.chat("Hello", model="openai/gpt-4o", tenant="acme")
    waiting = (await job.info()).waiting
    assert waiting is not None
    assert (waiting.reason, waiting.position, waiting.key) == ("no worker", 0, None)
    assert waiting.lane == "openai/gpt-4o|tenant:acme"


async def test_a_job_waits_for_a_key_of_its_lane(any_queue: Queue) -> None:
    await a_worker(any_queue)
    await any_queue.limits.set("openai/gpt-4o", concurrency=2)
    first = await any_queue.chat("Hello", priority="high")
    job = await any_queue.chat("Hello again")
    lane = KEYS.lane("@chat")  # an alias, of DEFAULT_MODEL
    await hold(any_queue, "openai/gpt-4o", j1=10_000, j2=20_000, lapsed=-5_000, gone=10_000)
    await any_queue.limits.evict("openai/gpt-4o", "gone")
    await wait_for(any_queue, "openai/gpt-4o", KEYS.lane("another"), lane)
    await any_queue.session.redis.zadd(KEYS.gates, {"openai/gpt-4o": await server_ms(any_queue) + 60_000})

    waiting = (await job.info()).waiting

    assert waiting is not None
    assert waiting.sentence.startswith(
        "waits for openai/gpt-4o: 2 of 2 slots are in use; 1 job and 1 lane are ahead; next look in "
    )
    assert (waiting.reason, waiting.key, waiting.position, waiting.lanes_ahead) == (
        "concurrency",
        "openai/gpt-4o",
        1,
        1,
    )
    assert [holder.id for holder in waiting.holders] == ["lapsed", "j1", "j2"]
    assert waiting.holders[0].lease_s < 0 < waiting.holders[1].lease_s
    assert waiting.next_at is not None
    assert 50 < (waiting.next_at - waiting.asked_at).total_seconds() <= 60
    assert (await first.info()).waiting is not None


async def test_a_pattern_that_is_paused_holds_a_tenant(any_queue: Queue) -> None:
    await a_worker(any_queue)
    await any_queue.limits.pause("tenant:*")
    job = await any_queue.chat("Hello", tenant="acme")
    waiting = (await job.info()).waiting
    assert waiting is not None
    assert waiting.sentence == "waits for tenant:acme: it is paused."


async def test_a_deferred_job_and_one_that_was_tried_say_until_when(any_queue: Queue) -> None:
    job = await any_queue.chat("Hello", defer_s=60)
    waiting = (await job.info()).waiting
    assert waiting is not None
    assert (waiting.reason, waiting.position) == ("deferred", None)
    await any_queue.session.redis.set(KEYS.retry(job.id), 1, px=TTL_MS)
    waiting = (await job.info()).waiting
    assert waiting is not None
    assert waiting.reason == "retry"
    assert waiting.next_at == (await job.info()).due_at


async def test_a_job_of_the_default_queue_waits_for_its_turn(any_queue: Queue) -> None:
    await a_worker(any_queue)
    job = await any_queue.enqueue("anything")
    waiting = (await job.info()).waiting
    assert waiting is not None
    assert waiting.sentence == "waits for its turn: no limit holds it."


async def test_a_job_that_runs_does_not_wait(any_queue: Queue) -> None:
    job = await any_queue.chat("Hello")
    await any_queue.session.redis.set(KEYS.in_progress(job.id), "mill:1:w", px=TTL_MS)
    assert (await job.info()).waiting is None
