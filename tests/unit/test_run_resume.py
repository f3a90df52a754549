"""Killed anywhere, the same command again: every line answered, none twice, none paid for twice."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cli.run import InputError, OutputError, StopSignal, open_plan
from cli.run.output import LineFile
from client.errors import BadRequest, ServerError
from tests.unit.test_run_fake import (
    SETTINGS,
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

PROMPTS = ("one", "two", "three", "vier ä", "two")


async def test_every_line_is_answered_once_and_then_never_sent_again(tmp_path: Path) -> None:
    write_prompts(tmp_path, *PROMPTS)
    server = Server()
    first = await complete(options(tmp_path), server)
    assert (first.done, first.failed, first.exit_code) == (5, 0, 0)
    assert texts(tmp_path) == sorted(PROMPTS)
    assert sorted(server.paid) == sorted(PROMPTS)
    assert server.results == {}
    assert not (tmp_path / "out.jsonl.run").exists()
    before = (tmp_path / "out.jsonl").read_bytes()

    second = await complete(options(tmp_path), server)
    assert (second.done, second.skipped) == (0, 5)
    assert len(server.ids) == 5
    assert (tmp_path / "out.jsonl").read_bytes() == before


async def test_identical_lines_are_told_apart_by_their_count(tmp_path: Path) -> None:
    write_prompts(tmp_path, "same", "same", "same")
    await complete(options(tmp_path), Server())
    first, second, third = sorted(record["custom_id"] for record in read_lines(tmp_path / "out.jsonl"))
    assert (second, third) == (f"{first}-2", f"{first}-3")


async def test_an_output_torn_at_any_byte_is_repaired_and_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    write_prompts(tmp_path, *PROMPTS)
    out = tmp_path / "out.jsonl"
    await complete(options(tmp_path), Server())
    whole = out.read_bytes()
    start = whole.rindex(b"\n", 0, -1) - 3  # from within the last line but one
    for cut in range(start, len(whole) + 1):
        out.unlink()  # a file truncated to nothing and rewritten is flushed by ext4, which is slow
        out.write_bytes(whole[:cut])
        server = Server()
        await complete(options(tmp_path), server)
        assert texts(tmp_path) == sorted(PROMPTS), cut
        assert len(server.paid) <= 2, cut
        assert len({record["custom_id"] for record in read_lines(out)}) == 5


async def test_an_output_torn_within_its_only_line_is_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    write_prompts(tmp_path, "one")
    out = tmp_path / "out.jsonl"
    await complete(options(tmp_path), Server())
    whole = out.read_bytes()
    for cut in (*range(30), *range(30, len(whole), 9), len(whole) - 1):
        out.unlink()  # a file truncated to nothing and rewritten is flushed by ext4, which is slow
        out.write_bytes(whole[:cut])
        await complete(options(tmp_path), Server())
        assert texts(tmp_path) == ["one"], cut


async def test_zeros_left_by_a_power_cut_are_taken_off(tmp_path: Path) -> None:
    write_prompts(tmp_path, *PROMPTS)
    await complete(options(tmp_path), Server())
    with (tmp_path / "out.jsonl").open("ab") as file:
        file.write(b"\0" * 100)
    assert (await complete(options(tmp_path), Server())).skipped == 5
    assert b"\0" not in (tmp_path / "out.jsonl").read_bytes()


@pytest.mark.parametrize("foreign", ["precious notes", "precious\nnotes\n", '{"my": "data"}\n', "[1]\n"])
async def test_a_file_that_is_not_ours_is_neither_cut_nor_appended_to(tmp_path: Path, foreign: str) -> None:
    write_prompts(tmp_path, "one")
    (tmp_path / "out.jsonl").write_text(foreign)
    with pytest.raises(InputError, match="no answer of an earlier run"):
        await complete(options(tmp_path), Server())
    assert (tmp_path / "out.jsonl").read_text() == foreign


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


async def test_a_changed_body_counts_as_new(tmp_path: Path) -> None:
    line = {"custom_id": "a", "prompt": "old"}
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    server = Server()
    await complete(options(tmp_path), server)
    (tmp_path / "in.jsonl").write_text(json.dumps(line | {"prompt": "new"}))
    await complete(options(tmp_path), server)
    assert server.paid == ["old", "new"]
    assert texts(tmp_path) == ["new", "old"]


async def test_another_model_counts_as_new_and_other_metadata_does_not(tmp_path: Path) -> None:
    line: dict[str, Any] = {"custom_id": "a", "prompt": "p", "metadata": {"n": 1}}
    server = Server()
    for change in ({}, {"metadata": {"n": 2}}, {"model": "openai/other"}):
        (tmp_path / "in.jsonl").write_text(json.dumps(line | change))
        await complete(options(tmp_path), server)
    assert len(server.paid) == 2


async def test_lines_may_be_moved_and_added_between_runs(tmp_path: Path) -> None:
    server = Server()
    write_prompts(tmp_path, "a", "b")
    await complete(options(tmp_path), server)
    write_prompts(tmp_path, "c", "b", "a", "b")
    await complete(options(tmp_path), server)
    assert server.paid == ["a", "b", "c", "b"]


async def test_failed_lines_wait_in_the_error_file_until_they_are_retried(tmp_path: Path) -> None:
    write_prompts(tmp_path, "good", "bad")
    is_down = True
    errors = tmp_path / "out.errors.jsonl"

    def answer(request: Any) -> Any:
        down = is_down and asked(request) == "bad"
        return (
            ServerError("It broke.", provider="openai", status=500, code="oops") if down else reply(request)
        )

    server = Server(answer)
    first = await complete(options(tmp_path), server)
    assert (first.done, first.failed, first.exit_code) == (1, 1, 1)
    (error,) = read_lines(errors)
    assert error["line"] == 2
    assert error["error"] == {"type": "ServerError", "message": "It broke.", "status": 500, "code": "oops"}

    resumed = await complete(options(tmp_path), server)
    assert (resumed.failed_before, resumed.exit_code, len(server.paid)) == (1, 1, 2)

    again = await complete(options(tmp_path, retry_errors=True), server)
    assert (again.failed, len(server.paid)) == (1, 3)
    assert [record["round"] for record in read_lines(errors)] == [1]

    is_down = False
    last = await complete(options(tmp_path, retry_errors=True), server)
    assert (last.done, last.exit_code) == (1, 0)
    assert read_lines(errors) == []
    assert texts(tmp_path) == ["bad", "good"]
    assert len(set(server.ids)) == 4  # each round asks under an id of its own


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
    file = LineFile(tmp_path / "f", extent_of_nothing())
    os.dup2(os.open("/dev/full", os.O_WRONLY), file._fd)
    with pytest.raises(OutputError, match="No space left on device"):
        file.append(b"x\n")
    file.close()


def extent_of_nothing() -> Any:
    from cli.run.output import Extent

    return Extent()


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


def test_a_second_run_on_the_same_output_is_refused(tmp_path: Path) -> None:
    write_prompts(tmp_path, "a")
    with (
        open_plan(options(tmp_path), SETTINGS),
        pytest.raises(InputError, match=r"Another run is writing out\.jsonl"),
        open_plan(options(tmp_path), SETTINGS),
    ):
        pass
    with open_plan(options(tmp_path), SETTINGS):
        pass


def test_an_interrupted_run_keeps_its_id_and_knows_its_age(tmp_path: Path) -> None:
    write_prompts(tmp_path, "a")
    with open_plan(options(tmp_path), SETTINGS) as plan:
        run_id = plan.sidecar.run_id
        assert plan.sidecar.age_s is None
        plan.sidecar.touch()
    os.utime(tmp_path / "out.jsonl.run", (0, 0))
    with open_plan(options(tmp_path), SETTINGS) as plan:
        assert plan.sidecar.run_id == run_id
        assert plan.sidecar.age_s is not None
        assert plan.sidecar.age_s > SETTINGS.result_ttl_s
