"""Answers that came and are none, or not whole: counted, named, and asked for again where that is wanted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.errors import ServerError
from client.wire.schemas import Completion, Shortfall, shortfall_of
from promptmill.cli.run.records import shortfall_in
from tests.unit.test_run_fake import (
    Server,
    asked,
    complete,
    options,
    read_lines,
    reply,
    write_prompts,
)

SHORT: dict[str, dict[str, Any]] = {
    "thought": {"text": "", "finish_reason": "length"},
    "nothing": {"text": " \n", "finish_reason": "stop"},
    "half": {"text": "Once", "finish_reason": "length"},
    "bad": {"text": "Fi", "finish_reason": "content_filter"},
    "whole": {"text": "Once upon", "finish_reason": "stop"},
    "call": {"text": "", "finish_reason": "tool_calls", "tool_calls": [{"id": "1"}]},
    "image": {"text": "", "finish_reason": "stop", "extra": {"message": {"images": [{"url": "x"}]}}},
}
LACKS: dict[str, Shortfall | None] = {
    "thought": "empty",
    "nothing": "empty",
    "half": "cut_off",
    "bad": "filtered",
}


def short(request: Any) -> Completion:
    answer = reply(request)
    assert isinstance(answer, Completion)
    return answer.model_copy(update=SHORT[asked(request)])


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("is_batch", [True, False])
async def test_what_an_answer_lacks_is_said_alike_of_the_answer_and_of_its_line(
    tmp_path: Path, name: str, is_batch: bool
) -> None:
    body = {"messages": [{"role": "user", "content": name}]}
    line = {"custom_id": "a", "body": body} if is_batch else {"custom_id": "a", "prompt": name}
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    server = Server(short)
    summary = await complete(options(tmp_path), server)
    (record,) = read_lines(tmp_path / "out.jsonl")
    assert shortfall_in(record) == LACKS.get(name)
    counted = {"empty": summary.empty, "cut_off": summary.cut_off, "filtered": summary.filtered}
    assert [lack for lack, count in counted.items() if count] == ([LACKS[name]] if name in LACKS else [])


async def test_the_summary_names_them_now_and_when_they_are_all_there_is(tmp_path: Path) -> None:
    write_prompts(tmp_path, *SHORT)
    first = await complete(options(tmp_path), Server(short))
    assert (first.done, first.exit_code) == (7, 0)
    again = await complete(options(tmp_path), Server(short))
    for summary in (first, again):
        (line,) = [line for line in summary.lines() if "--retry-empty" in line]
        assert line.startswith("Of the answers, 2 empty, 1 cut off at the limit of tokens, 1 filtered (ask")
        assert [summary.as_dict()[name] for name in ("empty", "cut_off", "filtered")] == [2, 1, 1]


async def test_they_are_asked_for_again_and_replaced(tmp_path: Path) -> None:
    write_prompts(tmp_path, *SHORT)
    await complete(options(tmp_path), Server(short))
    server = Server(lambda request: reply(request) if asked(request) != "half" else short(request))
    summary = await complete(options(tmp_path, retry_empty=True), server)
    assert sorted(server.paid) == sorted(LACKS)
    assert (summary.done, summary.skipped, summary.empty, summary.cut_off) == (4, 3, 0, 1)
    records = read_lines(tmp_path / "out.jsonl")
    assert len(records) == len({record["custom_id"] for record in records}) == 7
    assert [r.get("round", 0) for r in records if shortfall_in(r)] == [1]
    server = Server(reply)
    await complete(options(tmp_path, retry_empty=True), server)
    assert server.paid == ["half"]
    assert not any(map(shortfall_in, read_lines(tmp_path / "out.jsonl")))


@pytest.mark.parametrize("answer", [reply, short])
async def test_a_run_that_was_killed_before_it_tidied_up_leaves_the_last_word(
    tmp_path: Path, answer: Callable[[Any], Any]
) -> None:
    write_prompts(tmp_path, "half", "whole")
    out = tmp_path / "out.jsonl"
    await complete(options(tmp_path), Server(short))
    before = out.read_bytes()
    await complete(options(tmp_path, retry_empty=True), Server(answer))
    newer = next(line for line in out.read_bytes().splitlines(keepends=True) if b'"round":1' in line)
    out.write_bytes(before + newer)
    server = Server(reply)
    await complete(options(tmp_path), server)
    assert (server.paid, len(read_lines(out))) == ([], 2)
    assert newer in out.read_bytes()


async def test_one_that_then_fails_keeps_its_answer_and_has_an_error(tmp_path: Path) -> None:
    write_prompts(tmp_path, "half", "whole")
    await complete(options(tmp_path), Server(short))
    before = (tmp_path / "out.jsonl").read_bytes()
    summary = await complete(options(tmp_path, retry_empty=True), Server(lambda _: ServerError("boom")))
    assert (summary.failed, summary.exit_code) == (1, 1)
    assert (tmp_path / "out.jsonl").read_bytes() == before
    (error,) = read_lines(tmp_path / "out.errors.jsonl")
    assert (error["round"], error["error"]["message"]) == (1, "boom")


def test_a_filter_comes_before_all_else_and_an_unknown_end_is_none() -> None:
    assert shortfall_of("", "content_filter", is_more=False) == "filtered"
    assert shortfall_of("x", None, is_more=False) is None
    assert shortfall_of(None, None, is_more=True) is None
