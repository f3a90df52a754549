"""The run while it goes on: the window, the order of writing and forgetting, what is told."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from client.errors import JobAborted
from promptmill.cli.run import runner as runner_module
from promptmill.cli.run.options import Defaults
from promptmill.cli.run.plan import open_plan
from promptmill.cli.run.progress import LiveProgress, PlainProgress, describe, duration, open_progress
from promptmill.cli.run.runner import StopSignal, Timing
from promptmill.cli.run.summary import RunSummary
from promptmill.cli.run.tally import Tally
from tests.unit.test_run_fake import (
    SETTINGS,
    FakeQueue,
    Notes,
    Server,
    asked,
    check,
    complete,
    options,
    read_lines,
    reply,
    texts,
    write_prompts,
)


@pytest.mark.parametrize("window", [1, 3, 10, 1000])
async def test_the_queue_never_holds_more_than_the_window(tmp_path: Path, window: int) -> None:
    prompts = [f"p{number}" for number in range(60)]
    write_prompts(tmp_path, *prompts)
    server = Server()
    await complete(options(tmp_path, window=window), server)
    assert server.most_unfinished <= window
    assert texts(tmp_path) == sorted(prompts)


async def test_large_prompts_narrow_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "WINDOW_BYTES", 10_000)
    write_prompts(tmp_path, *(f"{number}" + "x" * 4_000 for number in range(9)))
    server = Server()
    await complete(options(tmp_path, window=100), server)
    assert len(texts(tmp_path)) == 9
    assert server.most_unfinished <= 3


def test_the_default_window_follows_the_worker_within_bounds(tmp_path: Path) -> None:
    def window(max_jobs: int) -> int:
        return options(tmp_path).window_jobs(SETTINGS.model_copy(update={"max_jobs": max_jobs}))

    assert [window(1), window(500), window(20_000)] == [500, 2_000, 10_000]


async def test_a_result_is_forgotten_only_after_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_prompts(tmp_path, *"abcdef")
    synced: list[int] = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        fsync(fd)
        synced.append(os.fstat(fd).st_size)

    forget = FakeQueue.forget
    forgotten = 0

    async def checking(queue: FakeQueue, job_ids: Any) -> None:
        nonlocal forgotten
        forgotten += len(ids := list(job_ids))
        lines = (tmp_path / "out.jsonl").read_bytes()[: synced[-1]].count(b"\n")
        assert lines >= forgotten
        await forget(queue, ids)

    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr(FakeQueue, "forget", checking)
    await complete(options(tmp_path, window=2), Server())
    assert forgotten == 6


async def test_an_answer_has_all_that_a_reader_needs(tmp_path: Path) -> None:
    line = {"custom_id": "r1", "prompt": "hi", "metadata": {"row": 7}}
    (tmp_path / "in.jsonl").write_text(f"\n{json.dumps(line)}")
    await complete(options(tmp_path), Server())
    (record,) = read_lines(tmp_path / "out.jsonl")
    assert len(record.pop("hash")) == 32
    assert record.pop("usage")["output_tokens"] == 2
    assert record == {
        "custom_id": "r1",
        "line": 2,
        "text": "echo: hi",
        "model": "openai/gpt-4o-mini",
        "finish_reason": "stop",
        "cost_usd": 0.5,
        "attempts": 1,
        "duration_s": 0.25,
        "metadata": {"row": 7},
    }


async def test_batch_lines_get_openais_batch_form_back(tmp_path: Path) -> None:
    chat = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "logprobs": True, "user": "u"}
    lines = [
        {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": chat},
        {"custom_id": "b", "method": "POST", "url": "/v1/embeddings", "body": {"model": "e", "input": "x"}},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    server = Server()
    requests: list[Any] = []

    def answer(request: Any) -> Any:
        requests.append(request)
        return reply(request)

    server.answer = answer
    await complete(options(tmp_path), server)
    assert requests[0].extra == {"logprobs": True, "user": "u"}
    first, second = sorted(read_lines(tmp_path / "out.jsonl"), key=lambda record: str(record["custom_id"]))
    assert list(first) == ["id", "custom_id", "response", "error", "hash"]
    assert (first["custom_id"], first["error"], first["response"]["status_code"]) == ("a", None, 200)
    body = first["response"]["body"]
    assert (body["object"], body["model"]) == ("chat.completion", "gpt-4o")
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "echo: hi"}
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert second["response"]["body"]["data"] == [
        {"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}
    ]
    assert (await complete(options(tmp_path), server)).skipped == 2


async def test_embeddings_are_written_as_vectors(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"texts": ["a", "b"]}')
    await complete(options(tmp_path), Server())
    (record,) = read_lines(tmp_path / "out.jsonl")
    assert record["vectors"] == [[0.5, 1.0], [0.5, 1.0]]


async def test_what_the_queue_refuses_becomes_an_error_of_its_line_alone(tmp_path: Path) -> None:
    write_prompts(tmp_path, "a", "too large", "b")
    summary = await complete(options(tmp_path), Server())
    assert (summary.done, summary.failed) == (2, 1)
    (error,) = read_lines(tmp_path / "out.errors.jsonl")
    assert error["error"] == {"type": "JobFailed", "message": "The request is too large."}


async def test_an_aborted_job_and_an_unreadable_answer_are_errors(tmp_path: Path) -> None:
    write_prompts(tmp_path, "aborted", "odd", "good")
    answers = {"aborted": JobAborted("The job was aborted."), "odd": {"text": "from another version"}}
    server = Server(lambda request: answers.get(asked(request)) or reply(request))
    assert (await complete(options(tmp_path), server)).failed == 2
    types = {record["error"]["type"] for record in read_lines(tmp_path / "out.errors.jsonl")}
    assert types == {"JobAborted", "MalformedResponse"}


async def test_an_outage_shorter_than_our_patience_goes_unnoticed(tmp_path: Path) -> None:
    write_prompts(tmp_path, *"abc")
    server = Server()
    server.is_away = True
    ticks = count()

    def clock() -> float:
        now_s = float(next(ticks))
        server.is_away = now_s < 20
        return now_s

    timing = Timing(tick_s=0.001, patience_s=1_000, clock=clock)
    assert (await complete(options(tmp_path), server, timing=timing)).done == 3


async def test_a_silent_fleet_is_said_to_be_missing_once(tmp_path: Path) -> None:
    write_prompts(tmp_path, "a")
    ticks, stop, notes = count(step=10), StopSignal(), Notes()
    server = Server(lambda request: None)
    server.has_workers = False

    def clock() -> float:
        now_s = float(next(ticks))
        if now_s > 1_000:
            stop.request()
        return now_s

    timing = Timing(tick_s=0.001, silence_s=30, clock=clock)
    summary = await complete(options(tmp_path), server, stop=stop, progress=notes, timing=timing)
    assert summary.in_flight == 1
    assert notes.sentences == [runner_module.NO_WORKER]


async def test_an_input_that_changes_while_it_is_read_ends_the_run(tmp_path: Path) -> None:
    write_prompts(tmp_path, "a", "b")
    with open_plan(options(tmp_path, window=1), SETTINGS) as plan:
        (tmp_path / "in.jsonl").write_text('{"prompt": "a"}\n{oops\n')
        summary = await runner_module.run(plan, FakeQueue(Server()), progress=Notes(), stop=StopSignal())
    assert "The input changed while it was read: line 2" in str(summary.problem)
    assert summary.exit_code == 1


async def test_unknown_costs_and_tokens_stay_unknown(tmp_path: Path) -> None:
    write_prompts(tmp_path, "a", "b")

    def answer(request: Any) -> Any:
        answered = reply(request)
        if asked(request) == "a":
            return answered
        return answered.model_copy(update={"cost_usd": None, "usage": type(answered.usage)()})

    summary = await complete(options(tmp_path), Server(answer))
    assert (summary.cost_usd, summary.input_tokens, summary.output_tokens) == (None, None, None)
    assert "tokens unknown · cost unknown" in "\n".join(summary.lines())
    assert summary.as_dict()["cost_usd"] is None


async def test_the_memory_of_the_check_does_not_grow_with_the_file(tmp_path: Path) -> None:
    lines = 10_000
    with (tmp_path / "in.jsonl").open("w") as file:
        file.writelines(f'{{"prompt": "Say something about the number {n}."}}\n' for n in range(lines))
    tracemalloc.start()
    try:
        assert check(options(tmp_path), SETTINGS).pending == lines
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * 2**20


def test_plain_progress_says_everything_every_few_seconds() -> None:
    stream, now = io.StringIO(), [0.0]
    progress = PlainProgress(stream, clock=lambda: now[0])
    tally = Tally(pending_at_start=100)
    for now_s, done in ((0.0, 0), (1.0, 5), (60.0, 40)):
        now[0] = now_s
        tally.done, tally.in_flight, tally.input_tokens, tally.cost_usd = done, 7, 10 * done, 0.01 * done
        tally.sample(now_s)
        progress.update(tally)
    assert stream.getvalue() == (
        "40/100 · 40 done · 0 failed · 7 in flight · 400 tokens · $0.4000 · 40/min · 1:30 to go\n"
    )


def test_the_live_progress_is_for_terminals() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    assert isinstance(open_progress(io.StringIO()), PlainProgress)
    progress = open_progress(stream)
    assert isinstance(progress, LiveProgress)
    with progress:
        progress.update(Tally(pending_at_start=3, done=1))
        progress.note("Something [bold] to know.")
    assert "Something [bold] to know." in stream.getvalue()


def test_durations_and_early_numbers_are_readable() -> None:
    assert [duration(5), duration(65), duration(3_723)] == ["0:05", "1:05", "1:02:03"]
    assert describe(Tally(pending_at_start=1)) == "0 done · 0 failed · 0 in flight"


def test_the_exit_status_tells_how_it_went(tmp_path: Path) -> None:
    well = RunSummary(1, 1, 0, 0, 0, 0, 0, 1, 1, 0.0, 1.0, 60.0, tmp_path / "o", tmp_path / "e")
    assert well.exit_code == 0
    worse: list[tuple[dict[str, Any], int]] = [
        ({"failed": 1}, 1),
        ({"failed_before": 1}, 1),
        ({"invalid": 1}, 1),
        ({"problem": "x"}, 1),
        ({"is_interrupted": True, "failed": 1}, 130),
    ]
    for change, code in worse:
        fields = {name: getattr(well, name) for name in RunSummary.__dataclass_fields__} | change
        assert RunSummary(**fields).exit_code == code


def test_the_defaults_of_the_door_are_those_of_the_command(tmp_path: Path) -> None:
    opts = options(tmp_path, defaults=Defaults())
    assert opts.errors_path.name == "out.errors.jsonl"
    assert opts.sidecar_path.name == "out.jsonl.run"
