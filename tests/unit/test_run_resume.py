"""The same command again: every line is answered once, whatever became of the files between two runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from client.errors import ServerError
from promptmill.cli.run.options import InputError
from promptmill.cli.run.plan import open_plan
from promptmill.cli.run.sidecar import Sidecar
from tests.unit.test_run_fake import (
    PROMPTS,
    SETTINGS,
    Server,
    asked,
    complete,
    options,
    read_lines,
    reply,
    texts,
    write_prompts,
)


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


def test_a_run_is_resumed_in_its_own_namespace_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.run"
    for namespace, others in (("llm", ("", "other")), ("", ("llm",))):
        first = Sidecar.open(path, "in.jsonl", namespace)
        first.close()
        for other in others:
            with pytest.raises(InputError, match=r"jobs are in .*namespace.*unlike REDIS_URL"):
                Sidecar.open(path, "in.jsonl", other)
        again = Sidecar.open(path, "in.jsonl", namespace)
        assert again.run_id == first.run_id
        again.remove()
        again.close()
