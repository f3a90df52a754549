"""One connection wakes all who wait, whatever happens to it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from client import JobNotFound, Queue, QueueUnavailable, ResultTimeout, encode
from client.follow import sweep
from client.redis import subscriber
from client.wire.keys import Keys
from tests.conftest import KEYS, Server, wait_until

WAITERS = 10_000


def record(outcome: object) -> bytes:
    return encode({"t": 1, "f": "f", "a": [], "k": {}, "et": 1, "s": True, "r": outcome, "st": 1, "ft": 1})


async def finish(queue: Queue, *job_ids: str, signal: bool = True) -> None:
    """What a worker does at the end of jobs; each returns its own id."""
    async with queue.session.redis.pipeline(transaction=False) as end:
        for job_id in job_ids:
            end.set(KEYS.result(job_id), record(job_id), px=60_000)
            end.delete(KEYS.job(job_id))
            if signal:
                end.publish(KEYS.done_channel(job_id), "")
        await end.execute()


async def send(queue: Queue, *job_ids: str) -> None:
    await queue.chat_many(["hi"] * len(job_ids), job_ids=job_ids)


def waiting(queue: Queue, job_id: str, timeout_s: float | None = 30) -> asyncio.Task[Any]:
    return asyncio.create_task(queue.job(job_id).result(timeout_s))


async def channels(queue: Queue) -> list[bytes]:
    found: list[bytes] = await queue.session.redis.pubsub_channels(KEYS.done_channel("*"))
    return [name for name in found if name != KEYS.done_channel("").encode()]


async def subscribed(queue: Queue, count: int) -> None:
    async def all_there() -> bool:
        return len(await channels(queue)) == count

    await wait_until(all_there, description=f"{count} subscriptions", timeout_s=20)


async def nothing_is_left(queue: Queue) -> None:
    assert not queue.session.listener._waiters
    await subscribed(queue, 0)
    assert not queue.session.listener._join


@pytest.fixture
def quick_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "EVERY_S", 0.02)


async def test_ten_thousand_wait_on_one_connection(server: Server, queue: Queue) -> None:
    ids = [f"job-{i}" for i in range(WAITERS)]
    with server.client() as client:
        others = len(client.client_list())
    await send(queue, *ids)
    waiters = [waiting(queue, id_) for id_ in ids]
    await subscribed(queue, WAITERS)
    with server.client() as client:
        assert len(client.client_list()) - others <= 3
    for start in range(0, WAITERS, 1_000):
        await finish(queue, *ids[start : start + 1_000])
    assert await asyncio.gather(*waiters) == ids
    await nothing_is_left(queue)


async def test_a_result_that_is_there_already_is_fetched(queue: Queue) -> None:
    await finish(queue, "a")
    assert await waiting(queue, "a") == "a"


async def test_a_result_is_seen_whenever_it_comes_around_the_subscription(queue: Queue) -> None:
    ids = [f"job-{i}" for i in range(300)]
    await send(queue, *ids)
    waiters = []
    for i, id_ in enumerate(ids):
        waiters.append(waiting(queue, id_))
        if i % 3 == 1:  # let the listener get a little further each time
            await asyncio.sleep(0)
        if i % 2:
            await finish(queue, ids[i - 1], id_)
    assert await asyncio.gather(*waiters) == ids
    await nothing_is_left(queue)


async def test_an_unknown_id_is_told_at_once(queue: Queue) -> None:
    with pytest.raises(JobNotFound):
        await waiting(queue, "unknown", None)
    await nothing_is_left(queue)


async def test_a_timeout_leaves_nothing_behind(queue: Queue) -> None:
    await send(queue, "a", "b")
    waiters = [waiting(queue, "a", 0.05), waiting(queue, "b", 0.001), waiting(queue, "b", 0.05)]
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ResultTimeout] * 3
    assert str(outcomes[0]) == "Job a has not finished within 0.05 s; it goes on: ask again later."
    await nothing_is_left(queue)
    await finish(queue, "a")
    assert await waiting(queue, "a") == "a"


async def test_a_cancelled_wait_leaves_nothing_behind_and_the_job_alone(queue: Queue) -> None:
    await send(queue, "a", "b", "c")
    waiters = [waiting(queue, id_) for id_ in "abc"]
    await asyncio.sleep(0)
    waiters[0].cancel()  # before it is subscribed to
    await subscribed(queue, 2)
    waiters[1].cancel()
    await subscribed(queue, 1)
    await finish(queue, "c")
    assert await waiters[2] == "c"
    await nothing_is_left(queue)
    assert await queue.job("a").status() == "queued"


async def test_two_may_wait_for_one_job(queue: Queue) -> None:
    await send(queue, "a")
    first = waiting(queue, "a")
    await subscribed(queue, 1)
    second, impatient = waiting(queue, "a"), waiting(queue, "a", 0.01)
    with pytest.raises(ResultTimeout):
        await impatient
    await subscribed(queue, 1)
    await finish(queue, "a")
    assert list(await asyncio.gather(first, second)) == ["a", "a"]
    await nothing_is_left(queue)


@pytest.mark.usefixtures("quick_sweep")
async def test_a_lost_signal_is_found_by_the_sweep(queue: Queue) -> None:
    await send(queue, "a")
    waiter = waiting(queue, "a")
    await subscribed(queue, 1)
    await finish(queue, "a", signal=False)
    assert await waiter == "a"


@pytest.mark.usefixtures("quick_sweep")
async def test_a_lost_signal_is_found_while_others_keep_coming(queue: Queue) -> None:
    await send(queue, "lost", "busy")
    waiter, _busy = waiting(queue, "lost"), waiting(queue, "busy")
    await subscribed(queue, 2)
    await finish(queue, "lost", signal=False)

    async def found() -> bool:  # asked every 5 ms, which is more often than the sweep
        await queue.session.redis.publish(KEYS.done_channel("busy"), "")
        return waiter.done()

    await wait_until(found, description="the lost result")
    assert await waiter == "lost"
    _busy.cancel()


async def test_results_come_after_the_server_was_stopped_and_started(
    own_server: Server, own_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "RECONNECT_S", 0.02)
    monkeypatch.setattr(sweep, "EVERY_S", 60)  # nothing is owed to the safety net
    await send(own_queue, "a", "b", "c")
    waiters = [waiting(own_queue, id_) for id_ in "abc"]
    await subscribed(own_queue, 3)
    own_server.stop()
    late = waiting(own_queue, "c")
    own_server.start()
    await finish(own_queue, "a")  # before or after the listener is back
    await subscribed(own_queue, 2)
    await finish(own_queue, "b", "c")
    assert await asyncio.gather(*waiters, late) == ["a", "b", "c", "c"]


async def test_a_server_that_stays_away_is_told_to_all_who_wait(
    own_server: Server, own_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "OUTAGE_S", 0.1)
    monkeypatch.setattr(subscriber, "RECONNECT_S", 0.02)
    await send(own_queue, "a", "b")
    waiters = [waiting(own_queue, id_) for id_ in "ab"]
    await subscribed(own_queue, 2)
    own_server.stop()
    for waiter in waiters:
        with pytest.raises(QueueUnavailable, match="Redis cannot be reached: check REDIS_URL"):
            await waiter
    own_server.start()
    await finish(own_queue, "a")
    assert await waiting(own_queue, "a") == "a"


async def test_an_outage_counts_only_while_somebody_waits(
    own_server: Server, own_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "RECONNECT_S", 0.02)
    await send(own_queue, "a")
    with pytest.raises(ResultTimeout):
        await waiting(own_queue, "a", 0.05)
    own_server.stop()
    task = own_queue.session.listener._task
    assert task is not None
    await wait_until(task.done, description="the end of the idle listener")
    waiter = waiting(own_queue, "a")
    own_server.start()
    await subscribed(own_queue, 1)
    await finish(own_queue, "a")
    assert await waiter == "a"


async def test_a_fault_of_the_listener_leaves_nobody_waiting(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(keys: Keys, job_id: str) -> str:
        raise LookupError("a fault of ours")

    with monkeypatch.context() as patch:
        patch.setattr(Keys, "done_channel", broken, raising=False)  # as it is no attribute of the class
        with pytest.raises(LookupError, match="a fault of ours"):
            await waiting(queue, "a")
    await finish(queue, "a")
    assert await waiting(queue, "a") == "a"


async def test_closing_tells_all_who_wait_and_the_closed_queue_is_not_waited_on(server: Server) -> None:
    queue = Queue.from_url(server.url)
    await send(queue, "a")
    waiter = waiting(queue, "a")
    await subscribed(queue, 1)
    await queue.close()
    with pytest.raises(QueueUnavailable, match="has been closed: open another"):
        await waiter
    with pytest.raises(QueueUnavailable, match="has been closed: open another"):
        await queue.session.listener.wait("a")
    await queue.close()


async def test_closing_takes_no_longer_while_messages_arrive(server: Server, queue: Queue) -> None:
    """Python 3.11's wait_for loses a cancellation that comes together with a message."""
    await send(queue, "busy")
    for _ in range(50):
        async with Queue.from_url(server.url) as closing:
            waiter = waiting(closing, "busy")
            await subscribed(queue, 1)
            traffic = [queue.session.redis.publish(KEYS.done_channel("busy"), "") for _ in range(5)]
            began_s = time.monotonic()
            await asyncio.gather(*traffic, closing.close())
            assert time.monotonic() - began_s < 2
            with pytest.raises(QueueUnavailable):
                await waiter
        assert closing.session.listener._task is not None
        assert closing.session.listener._task.done()
