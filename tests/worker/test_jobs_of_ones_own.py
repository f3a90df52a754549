"""`@job` in a running worker: what coroutines get, return and raise, as their callers see it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from arq.connections import create_pool

from client import JobAborted, JobNotFound, Queue, errors, redis_settings
from client.wire.keys import KEYS
from tests.conftest import Server, wait_until
from tests.worker.processes import Process, Provider

pytestmark = pytest.mark.usefixtures("worker")

SOON_S = 10


async def ask(queue: Queue, function: str, *args: object, **kwargs: Any) -> object:
    job = await queue.enqueue(function, *args, **kwargs)
    return await job.result(SOON_S)


async def refused(queue: Queue, function: str, *args: object) -> errors.JobError:
    with pytest.raises(errors.JobError) as raised:
        await ask(queue, function, *args)
    return raised.value


async def test_a_coroutine_that_knows_nothing_of_queues_is_a_job(queue: Queue) -> None:
    assert await ask(queue, "add", 1, b=2) == 3


async def test_a_first_parameter_named_ctx_gets_arqs_context_under_the_name_it_was_given(
    queue: Queue,
) -> None:
    job = await queue.enqueue("renamed", "word", _job_id="mine")
    assert await job.result(SOON_S) == ["mine", 1, "word"]


async def test_a_model_and_a_dataclass_arrive_as_json_data(queue: Queue) -> None:
    model, point = await asyncio.gather(ask(queue, "a_model"), ask(queue, "a_dataclass"))
    assert model == {"title": "Mills", "written_on": "2026-01-02"}
    assert point == {"x": 1, "y": 2}


async def test_what_is_not_json_cannot_be_returned(queue: Queue) -> None:
    not_json, not_text, endless = await asyncio.gather(
        *(refused(queue, name) for name in ("not_json", "not_text", "holds_itself"))
    )
    assert isinstance(not_json, errors.Unserializable)
    assert str(not_json).startswith("A builtins.object cannot be written as JSON: ")
    assert isinstance(not_text, errors.Unserializable)
    assert "cannot be written as JSON" in str(not_text)
    assert isinstance(endless, errors.Unserializable)


async def test_what_a_job_raises_is_raised_in_its_caller(queue: Queue) -> None:
    error = await refused(queue, "raises")
    assert type(error) is errors.JobFailed
    assert error.error_type == "LookupError"
    assert str(error) == "LookupError: no document 7"


async def test_wrong_arguments_are_the_callers_error(queue: Queue) -> None:
    error = await refused(queue, "add", 1, 2, 3)
    assert isinstance(error, errors.JobFailed)
    assert error.error_type == "TypeError"


async def test_a_job_that_runs_longer_than_its_timeout_is_ended(queue: Queue) -> None:
    assert isinstance(await refused(queue, "never_ends"), errors.JobTimedOut)


async def test_a_timeout_of_the_jobs_own_is_not_taken_for_the_jobs_timeout(queue: Queue) -> None:
    error = await refused(queue, "times_out_itself")
    assert type(error) is errors.JobFailed
    assert error.error_type == "TimeoutError"
    assert "the database is slow" in str(error)


async def test_a_job_may_ask_to_run_again_later(queue: Queue) -> None:
    assert await ask(queue, "runs_again_later") == 2


async def test_unknown_names_and_used_up_tries_are_errors_that_say_so(queue: Queue) -> None:
    unknown, exhausted = await asyncio.gather(refused(queue, "ad"), refused(queue, "always_again"))
    assert isinstance(unknown, errors.UnknownFunction)
    assert "JOB_MODULES" in str(unknown)
    assert isinstance(exhausted, errors.TriesExhausted)


async def test_how_long_a_result_is_kept_is_the_jobs_choice(queue: Queue) -> None:
    job = await queue.enqueue("kept_for_a_minute")
    assert await job.result(SOON_S) == "kept"
    assert 50 <= await queue.session.redis.ttl(KEYS.result(job.id)) <= 60
    with pytest.raises(JobNotFound):
        await ask(queue, "kept_by_nobody")


async def test_a_job_may_enqueue_another(queue: Queue) -> None:
    await ask(queue, "enqueues_another", "next")
    assert await queue.job("next").result(SOON_S) == 42


async def test_aborting_a_running_chat_hangs_up_on_the_provider(queue: Queue, provider: Provider) -> None:
    await provider.configure(latency_s=30)
    job = await queue.chat("Never mind", timeout_s=30)
    await provider.counted("open", 1)
    async with asyncio.timeout(2):
        assert await job.abort()
    await provider.counted("cancelled", 1)
    with pytest.raises(JobAborted):
        await job.result(SOON_S)
    assert (await provider.stats())["requests"] == 1


class _Marks:
    """A pickle of it, loaded, makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


async def test_a_pickle_is_not_loaded_but_left_until_its_deadline_and_the_worker_goes_on(
    queue: Queue, worker: Process, server: Server, tmp_path: Path
) -> None:
    pickling = await create_pool(redis_settings(server.url))  # a stock arq producer
    await pickling.enqueue_job("add", _Marks(str(tmp_path / "loaded")), _job_id="of stock arq")
    await pickling.aclose()
    assert await ask(queue, "add", 1) == 1
    await wait_until(lambda: _left_unread(queue), description="the worker to have left it")
    await queue.session.redis.zadd(KEYS.unreadable, {f"{KEYS.queue}\nof stock arq": 1})
    with pytest.raises(errors.JobFailed, match=r"client\.Queue.*client\.encode") as raised:
        await queue.job("of stock arq").result(SOON_S)
    assert raised.value.error_type == "DeserializationError"
    assert not (tmp_path / "loaded").exists()
    assert await ask(queue, "add", 1) == 1
    assert worker.alive


async def _left_unread(queue: Queue) -> bool:
    return bool(await queue.session.redis.zcount(KEYS.queue, "-inf", "(0"))


async def test_nothing_is_left_of_a_job_but_its_result(queue: Queue) -> None:
    await ask(queue, "runs_again_later")
    await wait_until(
        lambda: _only_results(queue), description="no key but results and the worker's sign of life"
    )


async def _only_results(queue: Queue) -> bool:
    left = {key async for key in queue.session.redis.scan_iter()}
    kept = (
        b"arq:result:",
        b"arq:queue:health-check",
        b"mill:epoch",
        b"mill:aliases",
        b"mill:flow:",
        b"mill:cost:",
        b"mill:returns",  # when leases would have ended; a claim then takes that away
    )
    return all(key.startswith(kept) for key in left)
