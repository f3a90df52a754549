"""The commands on a private server that is there for as long as each of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from promptmill.cli.main import promptmill
from promptmill.cli.stack import StackError
from promptmill.cli.stack.embedded import find_server

try:
    find_server()
except StackError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_URL", "OPENAI_API_KEY", "PROMPTMILL_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def invoke(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(promptmill, args)
    return result.exit_code, result.stdout, result.stderr


def test_a_job_is_enqueued_looked_at_and_aborted_by_one_command_each() -> None:
    code, out, err = invoke("enqueue", "chat", "a prompt", "--id", "first", "--kwarg", "model=openai/gpt-4o")
    assert (code, out) == (0, "first\n")
    assert "promptmill up" in err
    assert invoke("status", "first")[1].startswith("queued\n  function  chat")
    assert json.loads(invoke("stats", "--json")[1])["queued"] == 1
    assert invoke("abort", "first")[0] == 0
    status = json.loads(invoke("status", "first", "--json")[1])
    assert (status["status"], status["success"]) == ("complete", False)
    code, _, err = invoke("abort", "first")
    assert (code, err) == (1, "Job first had finished: its result stands.\n")


def test_a_deferred_job_is_counted_as_such() -> None:
    assert invoke("enqueue", "anything", "1", '{"a": 2}', "--kwarg", "b=3", "--defer-s", "60")[0] == 0
    assert "deferred  1\n" in invoke("stats")[1]


@pytest.mark.parametrize("command", ["status", "result", "abort"])
def test_an_unknown_job_is_one_sentence_and_exit_code_1(command: str) -> None:
    code, out, err = invoke(command, "nope")
    assert (code, out) == (1, "")
    assert err.startswith("promptmill: There is no job 'nope'")
    assert err.count("\n") == 1


def test_nobody_waits_for_a_job_that_nobody_works_on() -> None:
    invoke("enqueue", "chat", "a prompt", "--id", "first")
    code, _, err = invoke("result", "first", "--wait", "60")
    assert (code, err) == (
        1,
        "promptmill: Job first is queued, and no worker is running: start one with `promptmill up`.\n",
    )


@pytest.mark.parametrize(
    "args", [("chat", "two", "prompts"), ("chat",), ("embed",), ("chat", "x", "--kwarg", "nope=1")]
)
def test_a_request_that_is_wrong_is_refused_with_exit_code_2(args: tuple[str, ...]) -> None:
    code, out, _ = invoke("enqueue", *args)
    assert (code, out) == (2, "")


def test_the_doctor_finds_the_private_server_well_and_the_key_missing() -> None:
    code, out, _ = invoke("doctor", "--json")
    findings = {finding["check"]: finding for finding in json.loads(out)}
    assert code == 1
    assert {name for name, finding in findings.items() if finding["level"] == "fail"} == {"provider openai"}
    assert findings["eviction"]["found"] == "noeviction"


def test_the_doctor_calls_a_server_that_is_away_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:secret@127.0.0.1:1")
    code, out, err = invoke("doctor")
    assert code == 1
    assert "fail     server" in out
    assert "secret" not in out + err


def test_jobs_of_all_lanes_are_counted() -> None:
    assert invoke("enqueue", "chat", "a", "--lane", "tenant", "--priority", "high")[0] == 0
    assert invoke("enqueue", "anything", "--lane", "other", "--defer", "60")[0] == 0
    found = json.loads(invoke("stats", "--json")[1])
    assert (found["queued"], found["deferred"], found["running"]) == (1, 1, 0)


def test_without_dead_letters_each_command_says_so() -> None:
    assert invoke("dead", "list") == (0, "", "There are no dead letters.\n")
    assert invoke("dead", "list", "--json") == (0, "[]\n", "")
    assert invoke("dead", "retry", "--all") == (0, "0 queued again.\n", "")
    assert invoke("dead", "delete", "--all") == (0, "0 deleted.\n", "")
    code, _, err = invoke("dead", "show", "nope")
    assert (code, err.startswith("promptmill: There is no dead letter 'nope'")) == (1, True)
    assert invoke("dead", "retry", "nope")[0] == 1
    assert invoke("dead", "retry")[0] == 2
