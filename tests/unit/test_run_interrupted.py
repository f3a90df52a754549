"""A run that is killed, stopped or cancelled, or finds no disk or Redis, keeps its answers and is resumed."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from client.errors import BadRequest
from promptmill.cli.run.options import OutputError
from promptmill.cli.run.output import Extent, LineFile
from promptmill.cli.run.runner import StopSignal
from tests.unit.test_run_fake import (
    PROMPTS,
    FakeQueue,
    Server,
    asked,
    complete,
    options,
    read_lines,
    reply,
    texts,
    write_prompts,
)


class Killed(BaseException):
    """What kill -9 does to a run, as far as a test can: nothing more of it is executed."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> list[str]:
    """The run dies before its `step`-th effect on the disk or on Redis; returns the effects so far."""
    effects: list[str] = []

    def dying(name: str, original: Any) -> Any:
        def effect(*args: Any, **kwargs: Any) -> Any:
            if len(effects) >= step:
                raise Killed
            effects.append(name)
            return original(*args, **kwargs)

        return effect

    monkeypatch.setattr(os, "write", dying("write", os.write))
    monkeypatch.setattr(os, "fsync", dying("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", dying("replace", Path.replace))
    monkeypatch.setattr(FakeQueue, "_put", dying("put", FakeQueue._put))
    monkeypatch.setattr(FakeQueue, "forget", dying("forget", FakeQueue.forget))
    return effects


@pytest.mark.parametrize("retry", [False, True])
async def test_killed_between_any_two_steps_nothing_is_lost_or_paid_for_twice(
    tmp_path: Path, retry: bool
) -> None:
    """With `retry`, the killed run is one with --retry-errors after a run in which a line failed."""
    for step in range(100):
        path = tmp_path / str(step)
        path.mkdir()
        write_prompts(path, *PROMPTS)
        opts = options(path, window=2, retry_errors=retry)
        server = Server(lambda request: reply(request) if asked(request) != "two" else BadRequest("no"))
        if retry:
            await complete(options(path), server)
        server.answer = reply
        with pytest.MonkeyPatch.context() as patched:
            effects = kill_at(patched, step)
            with suppress(Killed):
                await complete(opts, server)
        server.work()  # what was in the queue goes on without the run
        await complete(opts, server)
        assert texts(path) == sorted(PROMPTS), effects
        assert len(server.paid) == 5 + 2 * retry, effects
        assert read_lines(path / "out.errors.jsonl") == []
        assert not (path / "out.jsonl.run").exists()
        if len(effects) < step:
            return
    pytest.fail("the run never got to its end")


async def test_ctrl_c_leaves_what_is_in_flight_in_the_queue_for_the_next_run(tmp_path: Path) -> None:
    write_prompts(tmp_path, "quick", "slow", "never sent")
    stop = StopSignal()

    def answer(request: Any) -> Any:
        if asked(request) == "slow":
            stop.request()
            return None
        return reply(request)

    server = Server(answer)
    summary = await complete(options(tmp_path, window=2), server, stop=stop)
    assert (summary.done, summary.in_flight, summary.exit_code) == (1, 1, 130)
    assert summary.lines()[-1] == (
        "Stopped: 1 done, 0 failed, 1 in flight. Run the same command again to resume."
    )
    assert texts(tmp_path) == ["quick"]
    assert (tmp_path / "out.jsonl.run").exists()

    server.answer = reply
    server.work()
    assert (await complete(options(tmp_path, window=2), server)).exit_code == 0
    assert sorted(server.paid) == ["never sent", "quick", "slow"]


async def test_a_cancelled_run_keeps_what_has_arrived(tmp_path: Path) -> None:
    write_prompts(tmp_path, "a", "slow")
    started = asyncio.Event()

    def answer(request: Any) -> Any:
        started.set()
        return None if asked(request) == "slow" else reply(request)

    server = Server(answer)
    task = asyncio.create_task(complete(options(tmp_path), server))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert texts(tmp_path) == ["a"]


async def test_a_full_disk_keeps_what_is_written_and_the_rest_in_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_prompts(tmp_path, *PROMPTS)
    server = Server()
    with monkeypatch.context() as patched:
        write, room = os.write, [800]

        def short_write(fd: int, data: Any) -> int:
            if not room[0]:
                raise OSError(28, "No space left on device")
            written = write(fd, bytes(data)[: room[0]])
            room[0] -= written
            return written

        patched.setattr(os, "write", short_write)
        summary = await complete(options(tmp_path, window=1), server)
    assert summary.exit_code == 1
    assert summary.problem is not None
    assert "No space left on device" in summary.problem
    assert (tmp_path / "out.jsonl").read_bytes().endswith(b"\n")
    assert (await complete(options(tmp_path), server)).exit_code == 0
    assert texts(tmp_path) == sorted(PROMPTS)
    assert sorted(server.paid) == sorted(PROMPTS)


def test_a_real_full_device_is_one_sentence(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "f", Extent())
    os.dup2(os.open("/dev/full", os.O_WRONLY), file._fd)
    with pytest.raises(OutputError, match="No space left on device"):
        file.append(b"x\n")
    file.close()


async def test_redis_gone_keeps_the_answers_and_can_be_resumed(tmp_path: Path) -> None:
    write_prompts(tmp_path, *PROMPTS)

    def answer(request: Any) -> Any:
        if asked(request) == "three":
            server.is_away = True
            return None
        return reply(request)

    server = Server(answer)
    summary = await complete(options(tmp_path, window=1), server)
    assert (summary.done, summary.exit_code) == (2, 1)
    assert "Redis cannot be reached. Every answer so far is kept" in str(summary.problem)
    server.is_away, server.answer = False, reply
    server.work()
    assert (await complete(options(tmp_path), server)).exit_code == 0
    assert sorted(server.paid) == sorted(PROMPTS)


async def test_a_job_that_redis_has_lost_is_sent_again_once(tmp_path: Path) -> None:
    write_prompts(tmp_path, "lost", "lost for good")
    seen: list[str] = []

    def answer(request: Any) -> Any:
        prompt = asked(request)
        seen.append(prompt)
        if prompt == "lost for good" or seen.count(prompt) == 1:
            server.requests = {i: r for i, r in server.requests.items() if asked(r) != prompt}
            return None
        return reply(request)

    server = Server(answer)
    summary = await complete(options(tmp_path, window=1), server)
    assert (summary.done, summary.failed) == (1, 1)
    assert read_lines(tmp_path / "out.errors.jsonl")[0]["error"]["type"] == "JobNotFound"
    assert seen.count("lost for good") == 2
