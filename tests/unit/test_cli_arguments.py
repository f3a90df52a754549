"""What is read from a command line, and what is handed on to processes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import pytest

from client import Queue
from client.wire.keys import KEYS
from promptmill.cli.enqueue import enqueue, put, read_pair, read_value
from promptmill.cli.stack import StackError
from promptmill.cli.stack.data_dir import SOCKET_PATH_LIMIT_BYTES, prepare_data_dir
from promptmill.cli.stack.ownership import OwnerRecord, decide
from promptmill.cli.stack.processes import environment_of, simulated
from settings import ProviderSettings, Settings, load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ('{"a": [1]}', {"a": [1]}),
        ("null", None),
        ("hello", "hello"),
        ("1 2", "1 2"),
        ("NaN", "NaN"),
    ],
)
def test_a_value_is_json_where_it_reads_as_json(text: str, value: Any) -> None:
    assert read_value(text) == value


def test_a_keyword_argument_is_split_at_the_first_equals_sign() -> None:
    assert read_pair("query=a=b") == ("query", "a=b")


@pytest.mark.parametrize("pair", ["novalue", "=1", "two words=1", "_job_id=1"])
def test_what_is_no_keyword_argument_is_refused(pair: str) -> None:
    with pytest.raises(click.BadParameter):
        read_pair(pair)


@pytest.mark.parametrize(
    ("function", "lane"),
    [("chat", "@chat|tenant:acme|conversation:42|a|b|bulk"), ("own", "tenant:acme|conversation:42|a|b|bulk")],
)
async def test_the_limits_of_a_job_are_options(fake_queue: Queue, function: str, lane: str) -> None:
    line = [function, "hi", "--tenant", "acme", "--conversation", "42", "--limit", "a", "--limit", "b"]
    terms = dict(enqueue.make_context("enqueue", [*line, "--lane", "bulk", "--id", "x"]).params)
    args, pairs = terms.pop("args"), terms.pop("pairs")
    await put(fake_queue, terms.pop("function"), list(args), dict(pairs), terms)
    assert await fake_queue.session.redis.zrange(KEYS.lane(lane), 0, -1) == [b"x"]


def test_the_worker_reads_back_exactly_our_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROVIDERS__OTHER__BASE_URL", "https://elsewhere.example")
    local = ProviderSettings.model_validate({"base_url": "http://localhost:1/v1", "api_key": "k"})
    ours = Settings(
        _env_file=None,
        redis_url="unix:///tmp/x.sock",
        openai_api_key="sk-1",
        providers={"local": local},
        job_modules=("a", "b"),
        max_jobs=7,
    )
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in environment_of(ours).items():
        monkeypatch.setenv(name, value)
    assert load() == ours


def test_an_inherited_provider_does_not_reach_a_simulated_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERS__GROQ__API_KEY", "real")
    monkeypatch.setenv("OPENAI_API_KEY", "real")
    monkeypatch.setenv("GEMINI_API_KEY", "real")
    groq = ProviderSettings.model_validate({"base_url": "https://groq.example/v1", "api_key": "real"})
    settings = simulated(Settings(_env_file=None, providers={"groq": groq}), "http://127.0.0.1:9")
    environment = environment_of(settings)
    assert "real" not in environment.values()
    assert "PROVIDERS__GROQ__API_KEY" not in environment
    assert json.loads(environment["PROVIDERS"])["groq"]["base_url"] == "http://127.0.0.1:9/v1"
    assert environment["GEMINI_BASE_URL"] == "http://127.0.0.1:9/v1beta"
    assert environment["OPENAI_BASE_URL"] == "http://127.0.0.1:9/v1"
    assert environment["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9"


def record(
    owner: str = "run", *, worker: bool = True, simulate: bool = False, ready: bool = True
) -> OwnerRecord:
    return OwnerRecord(pid=1, url="unix:///x", owner=owner, worker=worker, simulate=simulate, ready=ready)


def test_a_stack_of_up_is_shared_once_it_is_ready() -> None:
    assert decide(record("up"), worker=True, simulate=False) == "attach"
    assert decide(record("up", ready=False), worker=True, simulate=False) == "wait"


def test_a_command_that_is_there_for_a_moment_is_waited_for() -> None:
    assert decide(record("enqueue", worker=False), worker=True, simulate=True) == "wait"


def test_a_look_at_the_stack_of_a_run_is_allowed_but_not_a_second_run() -> None:
    assert decide(record("run"), worker=False, simulate=False) == "attach"
    with pytest.raises(StackError, match=r"`promptmill run` \(process 1\).*promptmill up"):
        decide(record("run"), worker=True, simulate=False)


def test_a_simulated_run_is_not_sent_to_real_providers() -> None:
    with pytest.raises(StackError, match="real providers"):
        decide(record("up"), worker=True, simulate=True)


def test_the_data_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    data_dir = prepare_data_dir(str(tmp_path / "a" / "data"))
    assert data_dir.path.stat().st_mode & 0o777 == 0o700
    assert data_dir.socket.parent == data_dir.path


@pytest.mark.parametrize("name", ["x" * 120, "with space"])
def test_a_path_no_socket_can_have_gets_a_short_one_of_ours_alone(tmp_path: Path, name: str) -> None:
    data_dir = prepare_data_dir(str(tmp_path / name))
    assert len(os.fsencode(data_dir.socket)) <= SOCKET_PATH_LIMIT_BYTES
    assert data_dir.socket.parent.stat().st_mode & 0o777 == 0o700
    assert prepare_data_dir(str(tmp_path / name)) == data_dir
    data_dir.socket.parent.rmdir()


def test_a_socket_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    directory = prepare_data_dir(str(tmp_path / ("x" * 120))).socket.parent
    directory.chmod(0o755)
    with pytest.raises(StackError, match="ours alone"):
        prepare_data_dir(str(tmp_path / ("x" * 120)))
    directory.rmdir()


def test_a_data_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="PROMPTMILL_DATA_DIR"):
        prepare_data_dir(str(tmp_path / "file" / "data"))
