"""The command: what it prints where, and its exit status. Stack and queue are fakes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner, Result

from client import Queue
from client.errors import BadRequest
from promptmill.cli.run import command
from promptmill.cli.stack import Stack, StackError
from settings import Settings
from tests.unit.test_run_fake import FakeQueue, Request, Server, asked, reply, texts, write_prompts

Invoke = Callable[..., Result]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Invoke:
    @asynccontextmanager
    async def open_stack(settings: Settings, **wanted: Any) -> AsyncIterator[Stack]:
        yield Stack("redis://fake", settings, "private", worker=True, data_dir=tmp_path)

    monkeypatch.setattr(command, "open_stack", open_stack)
    monkeypatch.setattr(Queue, "from_url", lambda *args, **options: FakeQueue(server))
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_URL", "ANTHROPIC_API_KEY", "DEFAULT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "test")

    def invoked(*arguments: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(command.run, arguments, input=stdin, catch_exceptions=False)

    return invoked


def test_answers_go_to_the_file_and_words_to_standard_error(invoke: Invoke, tmp_path: Path) -> None:
    write_prompts(tmp_path, "a", "b")
    result = invoke("in.jsonl", "-o", "out.jsonl")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "2 to send, on a private server" in result.stderr
    assert "2 done, 0 failed, 0 already finished." in result.stderr
    assert "6 tokens in, 4 out · $1.0000" in result.stderr
    assert "Answers: out.jsonl" in result.stderr
    assert texts(tmp_path) == ["a", "b"]


def test_nothing_is_started_where_everything_is_finished(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_prompts(tmp_path, "a")
    invoke("in.jsonl")
    monkeypatch.delattr(command, "open_stack")
    result = invoke("in.jsonl")
    assert result.exit_code == 0
    assert "0 done, 0 failed, 1 already finished." in result.stderr
    assert not Path("answers.jsonl.run").exists()


def test_the_summary_is_one_json_object_for_programs(invoke: Invoke, server: Server, tmp_path: Path) -> None:
    server.answer = lambda request: BadRequest("No.") if asked(request) == "b" else reply(request)
    write_prompts(tmp_path, "a", "b")
    result = invoke("in.jsonl", "--json")
    summary = json.loads(result.stdout)
    assert result.exit_code == summary["exit_code"] == 1
    assert (summary["done"], summary["failed"], summary["cost_usd"]) == (1, 1, 0.5)
    assert (summary["output"], summary["errors"]) == ("answers.jsonl", "answers.errors.jsonl")


def test_the_table_shows_the_answers_and_where_they_are(invoke: Invoke, tmp_path: Path) -> None:
    write_prompts(tmp_path, "word " * 100, "short\nlines")
    result = invoke("in.jsonl", "--table")
    head, rule, first, second, where = result.stdout.splitlines()
    assert head.split() == ["line", "answer", "tokens", "seconds"]
    assert set(rule) == {"─", " "}
    assert first.startswith("   1  echo: word word")
    assert "…" in first
    assert second.split() == ["2", "echo:", "short", "lines", "5", "0.25"]
    assert where == "Answers: answers.jsonl"


def test_the_table_has_at_most_fifty_rows(invoke: Invoke, tmp_path: Path) -> None:
    write_prompts(tmp_path, *map(str, range(60)))
    assert len(invoke("in.jsonl", "--table").stdout.splitlines()) == 53


def test_each_bad_line_is_told_and_the_exit_status_is_2(
    invoke: Invoke, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "a"}\n[]\n{"prompt": 1}\n')
    result = invoke("in.jsonl")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "Line 2: it must be a JSON object, not a list.",
        "Line 3: its prompt must be a text, not a number.",
        "promptmill: 2 of 3 lines cannot be sent, so nothing was: put them right, or leave them out "
        "with --skip-invalid.",
    ]
    assert server.ids == []
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent.jsonl"], "promptmill: absent.jsonl cannot be read: No such file or directory."),
        (["in.jsonl", "-o", "in.jsonl"], "promptmill: The input and the output are the same file"),
        (["in.jsonl", "--model", "anthropic/x"], "set ANTHROPIC_API_KEY, or try it without one with --sim"),
        (["in.jsonl", "--template", "{"], "promptmill: --template cannot be read"),
        (["in.jsonl", "--tenant", ""], "promptmill: A tenant is a name of 1 to 256 characters"),
        (["in.jsonl", "--limit", "a b"], "promptmill: A limit key is a name of 1 to 256 characters"),
        (["in.jsonl", "--window", "0"], "Invalid value for '--window'"),
        ([], "Missing argument 'FILE'"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_status_2(
    invoke: Invoke, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    write_prompts(tmp_path, "a")
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_a_fleet_knows_its_own_models_and_keys(
    invoke: Invoke, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://fleet")
    monkeypatch.delenv("OPENAI_API_KEY")
    models: list[str | None] = []

    def answer(request: Request) -> Any:
        models.append(request.model)
        return reply(request)

    server.answer = answer
    (tmp_path / "in.jsonl").write_text('{"prompt": "a"}\n{"prompt": "a", "model": "ours/secret"}\n')
    assert invoke("in.jsonl").exit_code == 0
    assert models == [None, "ours/secret"]


def test_a_run_comes_under_the_limits_it_is_given(invoke: Invoke, server: Server, tmp_path: Path) -> None:
    write_prompts(tmp_path, "a")
    assert invoke("in.jsonl").exit_code == 0
    assert server.limits == set()
    write_prompts(tmp_path, "b")
    assert invoke("in.jsonl", "--tenant", "acme", "--limit", "gpu", "--limit", "cpu").exit_code == 0
    assert server.limits == {"tenant:acme", "gpu", "cpu"}


def test_standard_input_is_read(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("-", "-o", "out.jsonl", stdin=b"first\nsecond\n")
    assert result.exit_code == 0
    assert texts(tmp_path) == ["first", "second"]


def test_ctrl_c_says_how_to_resume(invoke: Invoke, server: Server, tmp_path: Path) -> None:
    write_prompts(tmp_path, "a", "b")

    def answer(request: Any) -> Any:
        if asked(request) == "a":
            return reply(request)
        signal.raise_signal(signal.SIGINT)
        return None

    server.answer = answer
    result = invoke("in.jsonl", "-o", "out.jsonl")
    assert result.exit_code == 130
    assert "Stopped: 1 done, 0 failed, 1 in flight. Run the same command again to resume." in result.stderr
    server.answer = reply
    assert invoke("in.jsonl", "-o", "out.jsonl").exit_code == 0
    assert server.paid == ["a", "b"]


def test_ctrl_c_twice_leaves_at_once(
    invoke: Invoke, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(command, "SAME_SIGNAL_S", 0)

    def answer(request: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)

    server.answer = answer
    write_prompts(tmp_path, "a")
    invoke("in.jsonl")
    assert left == [130]


def test_an_interrupted_run_older_than_its_results_says_so(invoke: Invoke, tmp_path: Path) -> None:
    write_prompts(tmp_path, "a")
    sidecar = tmp_path / "answers.jsonl.run"
    sidecar.write_text('{"run_id": "abc"}')
    os.utime(sidecar, (0, 0))
    assert "will be asked for, and paid for, again" in invoke("in.jsonl").stderr


def test_a_stack_that_cannot_be_opened_leaves_nothing_behind(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_stack(settings: Settings, **wanted: Any) -> NoReturn:
        raise StackError("The server cannot be started.")

    monkeypatch.setattr(command, "open_stack", open_stack)
    write_prompts(tmp_path, "a")
    with pytest.raises(StackError):
        invoke("in.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_stack_that_breaks_keeps_the_answers_and_says_how_to_go_on(
    invoke: Invoke, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def open_stack(settings: Settings, **wanted: Any) -> AsyncIterator[Stack]:
        task = asyncio.current_task()
        assert task is not None
        server.answer = lambda request: reply(request) if asked(request) == "a" else task.cancel() and None
        try:
            yield Stack("redis://fake", settings, "private")
        except asyncio.CancelledError:
            raise StackError("The server stopped.") from None

    monkeypatch.setattr(command, "open_stack", open_stack)
    write_prompts(tmp_path, "a", "b")
    with pytest.raises(StackError):
        invoke("in.jsonl", "-o", "out.jsonl", "--window", "1")
    assert texts(tmp_path) == ["a"]
    assert Path("out.jsonl.run").exists()
