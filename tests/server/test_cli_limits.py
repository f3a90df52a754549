"""`promptmill limits` and what `promptmill status` says of a job that waits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from client import Limit, LimitState, SyncQueue
from promptmill.cli.limits import COLUMNS, row
from promptmill.cli.main import promptmill
from promptmill.cli.printing import table
from tests.conftest import KEYS, Server


@pytest.fixture
def url(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", server.url)
    return server.url


def invoke(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(promptmill, args)
    return result.exit_code, result.stdout, result.stderr


def test_a_limit_is_set_changed_listed_and_removed_by_one_command_each(url: str) -> None:
    assert invoke("limits", "set", "openai/gpt-4o", "concurrency=50", "rpm=600") == (
        0,
        "openai/gpt-4o: concurrency=50 rpm=600\n",
        "",
    )
    assert invoke("limits", "set", "openai/gpt-4o", "concurrency=-", "tpm=100_000")[1] == (
        "openai/gpt-4o: rpm=600 tpm=100000\n"
    )
    assert invoke("limits", "pause", "tenant:acme")[1] == "tenant:acme: paused=true\n"
    code, out, _ = invoke("limits", "list")
    head, model, tenant = out.splitlines()
    assert code == 0
    assert tuple(head.split()) == COLUMNS
    assert model.split() == [
        *("openai/gpt-4o", "rpm=600", "tpm=100000", "-", "0", "0", "-"),
        *("0%", "of", "600", "0%", "of", "100,000"),
    ]
    assert tenant.split() == ["tenant:acme", "paused=true", "-", "0", "0", "-", "-", "-"]
    assert invoke("limits", "resume", "tenant:acme")[1] == "tenant:acme: no limit of its own\n"
    assert invoke("limits", "remove", "openai/gpt-4o")[:2] == (0, "openai/gpt-4o: removed\n")
    assert invoke("limits", "list") == (0, "", "Nothing is limited, waited for or in use.\n")


def test_the_list_is_json_where_it_is_asked_for(url: str) -> None:
    invoke("limits", "set", "tenant:*", "concurrency=5")
    (state,) = json.loads(invoke("limits", "list", "tenant:*", "--json")[1])
    assert (state["key"], state["effective"], state["limit"]["concurrency"]) == ("tenant:*", 5, 5)
    assert json.loads(invoke("limits", "list", "openai", "--json")[1]) == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("set", "a", "rmp=6"), "promptmill: 'rmp=6' is no limit: it is written FIELD=VALUE"),
        (("set", "a", "rpm=many"), "promptmill: rpm is a number above 0, not 'many'; the fields are "),
        (("set", "a b", "rpm=1"), "promptmill: A limit key is a name"),
        (("pause", "a*"), "promptmill: A pattern ends with ':*'"),
    ],
)
def test_wrong_words_are_one_sentence_and_exit_code_2(url: str, args: tuple[str, ...], words: str) -> None:
    code, out, err = invoke("limits", *args)
    assert (code, out) == (2, "")
    assert err.startswith(words)
    assert err.count("\n") == 1


def test_a_limit_that_is_not_there_is_not_removed(url: str) -> None:
    code, out, err = invoke("limits", "remove", "a")
    assert (code, out) == (1, "")
    assert "a has no limit of its own" in err


def test_holders_are_evicted(url: str, server: Server) -> None:
    with server.client() as redis:
        redis.zadd(KEYS.slots("a"), {"j1": 9_999_999_999_999, "j2": 9_999_999_999_999})
        redis.expire(KEYS.slots("a"), 60)
    assert invoke("limits", "evict", "a", "j1")[1] == "1 evicted.\n"
    assert invoke("limits", "evict", "a")[1] == "1 evicted.\n"


def test_budgets_begin_anew(url: str, server: Server) -> None:
    with server.client() as redis:
        redis.hset(KEYS.flow("tenant:a"), mapping={"usd": 2})
        redis.expire(KEYS.flow("tenant:a"), 60)
    assert invoke("limits", "list")[1].splitlines()[1].split()[:4] == ["tenant:a", "-", "(no", "rule)"]
    assert invoke("limits", "reset", "tenant:a") == (0, "tenant:a: budgets begin anew\n", "")
    assert invoke("limits", "reset", "tenant:a")[1] == "tenant:a: nothing had been counted\n"


def test_the_status_of_a_job_says_why_it_waits(url: str) -> None:
    with SyncQueue.from_url(url) as queue:
        queue.chat("Hello", job_id="first")
    assert "\n  waits for a worker: none has reported of late.\n" in invoke("status", "first")[1]
    waiting = json.loads(invoke("status", "first", "--json")[1])["waiting"]
    assert (waiting["reason"], waiting["lane"], waiting["position"]) == ("no worker", "@chat", 0)
    assert waiting["sentence"].startswith("waits for a worker")


def test_a_row_says_where_its_limit_comes_from_and_what_is_used() -> None:
    state = LimitState(
        key="tenant:acme",
        limit=Limit(concurrency=5_000, rpm=600, tpm=60_000),
        source="tenant:*",
        effective=1_250,
        in_use=1_000,
        waiting=12,
        blocked_lanes=3,
        cooldown_s=2.345,
        rpm=600,
        requests_left=15.0,
        tpm=60_000,
        tokens_left=-600.0,
        tokens_today=0,
        usd_today=0,
        usd_total=0,
        paused=False,
    )
    assert row(state) == (
        *("tenant:acme", "concurrency=5000 rpm=600 tpm=60000 (tenant:*)", "1,250", "1,000", "12"),
        *("2.3 s", "75% of 600", "110% of 60,000"),
    )


def test_the_columns_of_a_table_are_aligned() -> None:
    assert table([("KEY", "LIMIT", "N"), ("a", "rpm=1", "1,000"), ("longer", "-", "-")], texts=2) == (
        "KEY     LIMIT      N\na       rpm=1  1,000\nlonger  -          -"
    )
