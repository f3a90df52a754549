"""How a job ends: aborted, cancelled, failed, refused; and how long that is known."""

from __future__ import annotations

import asyncio
import os
import pickle
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from arq import ArqRedis, Retry
from arq.jobs import Job as ArqJob
from arq.worker import func

from client import JobAborted, Queue, decode
from client.errors import JobError, JobFailed, UnknownFunction, Unserializable
from client.wire.keys import KEYS
from tests.conftest import Server, forever, wait_until
from tests.engine.rig import Engines, nothing_left_in

Ctx = dict[str, Any]


async def add(ctx: Ctx, a: int, b: int = 1) -> int:
    return a + b


def once(started: asyncio.Event) -> Any:
    async def endless(ctx: Ctx) -> None:
        started.set()
        await forever()

    return endless


class Unusual(BaseException):
    pass


@pytest.mark.parametrize("defer_s", [0, 60], ids=["queued", "deferred"])
async def test_a_waiting_job_is_aborted_and_never_starts(
    engines: Engines, server: Server, queue: Queue, plain: ArqRedis, defer_s: float
) -> None:
    ours = await queue.enqueue("add", 1, _defer_s=defer_s)
    theirs = await queue.enqueue("add", 1, _defer_s=defer_s)
    assert await ours.abort() is True
    asking = asyncio.create_task(ArqJob(theirs.id, plain, _deserializer=decode).abort(poll_delay=0.01))
    await wait_until(lambda: _has(server, KEYS.aborts), description="the abort is asked for")
    engine = await engines.start(server, add)
    assert await asyncio.wait_for(asking, 5) is True
    assert (engine.jobs_complete, engine.jobs_failed) == (0, 1)


async def test_a_running_job_is_aborted_by_either_client(
    engines: Engines, server: Server, queue: Queue, plain: ArqRedis
) -> None:
    for theirs in (False, True):
        started = asyncio.Event()
        engine = await engines.start(server, once(started), max_jobs=1)  # it has no room to claim
        job = await queue.enqueue("endless")
        await started.wait()
        if theirs:
            arq_job = ArqJob(job.id, plain, _deserializer=decode)
            assert await asyncio.wait_for(arq_job.abort(poll_delay=0.01), 5) is True
        else:
            assert await job.abort() is True
        with pytest.raises(JobAborted):
            await job.result(5)
        await engine.close()
        assert nothing_left_in(engine)
    assert not _has(server, KEYS.aborts)


async def test_an_abort_never_hits_a_later_job_of_the_same_id(
    engines: Engines, server: Server, queue: Queue, plain: ArqRedis
) -> None:
    release = asyncio.Event()

    async def gated(ctx: Ctx) -> str:
        await release.wait()
        return "unharmed"

    with server.client() as client:
        client.zadd(KEYS.aborts, {"again": time.time() * 1000 - 50})  # as arq's client leaves them
    engine = await engines.start(server, gated)
    job = await queue.enqueue("gated", _job_id="again")
    await wait_until(lambda: "again" in engine.runs, description="it runs")
    await queue.enqueue("gated")  # another claim, which reads the requests again
    await wait_until(lambda: len(engine.runs) == 2, description="both run")
    await engine._find_aborts()
    release.set()
    assert await job.result(5) == "unharmed"


async def test_old_requests_to_abort_do_not_hide_a_new_one(
    engines: Engines, server: Server, queue: Queue, plain: ArqRedis
) -> None:
    with server.client() as client:
        client.zadd(KEYS.aborts, {f"gone{n}": time.time() * 1000 - 60_000 for n in range(300)})
    started = asyncio.Event()
    await engines.start(server, once(started))
    job = await queue.enqueue("endless")
    await started.wait()
    assert await asyncio.wait_for(ArqJob(job.id, plain, _deserializer=decode).abort(poll_delay=0.01), 5)


async def test_a_job_aborted_before_its_first_step_has_run_nothing(
    engines: Engines, server: Server, queue: Queue
) -> None:
    ran = []

    async def note(ctx: Ctx) -> None:
        ran.append(1)

    engine = await engines.start(server, note)
    start = engine._start
    engine._start = lambda claimed: (start(claimed), engine._abort(claimed.lease.job_id))  # type: ignore[assignment,func-returns-value,method-assign]
    with pytest.raises(JobAborted):
        await (await queue.enqueue("note")).result(5)
    assert ran == []


async def test_a_job_that_swallows_its_cancellation_keeps_what_it_returns(
    engines: Engines, server: Server, queue: Queue
) -> None:
    started = asyncio.Event()

    async def swallow(ctx: Ctx) -> str:
        started.set()
        with suppress(asyncio.CancelledError):
            await forever()
        return "went on"

    await engines.start(server, swallow)
    job = await queue.enqueue("swallow")
    await started.wait()
    assert await job.abort() is False
    assert await job.result(5) == "went on"


async def test_a_job_that_cancels_itself_runs_again(engines: Engines, server: Server, queue: Queue) -> None:
    async def once_cancelled(ctx: Ctx) -> int:
        if ctx["job_try"] == 1:
            raise asyncio.CancelledError
        return int(ctx["job_try"])

    await engines.start(server, once_cancelled)
    assert await (await queue.enqueue("once_cancelled")).result(5) == 2


@pytest.mark.parametrize("error", [SystemExit(3), Unusual("odd"), RuntimeError("plain")], ids=repr)
async def test_whatever_a_job_raises_ends_the_job_and_not_the_worker(
    engines: Engines, server: Server, queue: Queue, error: BaseException
) -> None:
    async def fail(ctx: Ctx) -> None:
        raise error

    engine = await engines.start(server, fail, add)
    with pytest.raises(JobFailed) as caught:
        await (await queue.enqueue("fail")).result(5)
    assert caught.value.error_type == type(error).__name__
    assert await (await queue.enqueue("add", 1)).result(5) == 2
    assert (engine.jobs_complete, engine.jobs_failed) == (1, 1)


async def test_an_unknown_function_fails_with_its_name(
    engines: Engines, server: Server, queue: Queue
) -> None:
    await engines.start(server, add)
    with pytest.raises(UnknownFunction, match="nowhere"):
        await (await queue.enqueue("nowhere")).result(5)


async def test_a_result_that_is_not_json_fails_the_job(
    engines: Engines, server: Server, queue: Queue
) -> None:
    async def odd(ctx: Ctx) -> Any:
        return object()

    await engines.start(server, odd, add)
    with pytest.raises(Unserializable):
        await (await queue.enqueue("odd")).result(5)
    assert await (await queue.enqueue("add", 1)).result(5) == 2


async def test_pickle_is_refused_and_never_read(
    engines: Engines, server: Server, queue: Queue, tmp_path: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "the pickle was read"),))

    payload = pickle.dumps({"t": 1, "f": "add", "a": (Bomb(),), "k": {}, "et": 1})
    with server.client() as client:
        client.set(KEYS.job("bad"), payload, px=60_000)
        client.zadd(KEYS.queue, {"bad": 1})
    await engines.start(server, add)
    assert await (await queue.enqueue("add", 1)).result(5) == 2
    with server.client() as client:
        assert client.get(KEYS.job("bad")) == payload
        client.zadd(KEYS.unreadable, {f"{KEYS.queue}\nbad": 1})  # its deadline
    with pytest.raises(JobError):
        await queue.job("bad").result(5)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("settings", "ttl_s"),
    [({"keep_result": 70}, 70), ({"keep_result_forever": True}, -1), ({"keep_result": 0}, -2)],
    ids=["for a time", "for ever", "not at all"],
)
async def test_results_are_kept_as_long_as_asked(
    engines: Engines, server: Server, queue: Queue, settings: Any, ttl_s: int
) -> None:
    engine = await engines.start(server, add, **settings)
    job = await queue.enqueue("add", 1)
    await wait_until(lambda: engine.jobs_complete == 1 and not engine.held, description="it has ended")
    with server.client() as client:
        assert abs(client.ttl(KEYS.result(job.id)) - ttl_s) <= 1
        client.delete(KEYS.result(job.id))
        assert not client.exists(KEYS.job(job.id), KEYS.in_progress(job.id), KEYS.queue)


async def test_a_function_s_own_settings_win(engines: Engines, server: Server, queue: Queue) -> None:
    await engines.start(server, func(add, name="add", keep_result=33), keep_result=70)
    job = await queue.enqueue("add", 1)
    await job.result(5)
    with server.client() as client:
        assert 31 <= client.ttl(KEYS.result(job.id)) <= 33


async def test_a_retry_begins_when_it_is_due_and_not_at_the_next_poll(
    engines: Engines, server: Server, queue: Queue
) -> None:
    due_s: dict[str, float] = {}
    late_s: list[float] = []

    async def twice(ctx: Ctx, wait_s: float) -> None:
        if ctx["job_try"] == 1:
            await asyncio.sleep(0.1)  # until the worker waits for its poll
            due_s[ctx["job_id"]] = time.monotonic() + wait_s
            raise Retry(wait_s)
        late_s.append(time.monotonic() - due_s[ctx["job_id"]])

    await engines.start(server, twice, poll_delay=3)
    for wait_s in (0.05, 0.3):
        await (await queue.enqueue("twice", wait_s)).result(10)
    assert max(late_s) < 0.5


async def test_the_log_names_no_arguments(
    engines: Engines, server: Server, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await engines.start(server, add)
    with pytest.raises(JobFailed):
        await (await queue.enqueue("add", "a secret", {})).result(5)
    assert "add" in caplog.text
    assert "a secret" not in caplog.text


def _has(server: Server, key: str) -> bool:
    with server.client() as client:
        return bool(client.exists(key))
