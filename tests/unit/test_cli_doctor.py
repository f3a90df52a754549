"""The doctor's judgement: facts in, finding out."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from client.redis.url import server_address
from promptmill.cli.doctor.checks import (
    Finding,
    check_connections,
    check_cpu_workers,
    check_drain,
    check_eviction,
    check_memory,
    check_persistence,
    check_rights,
    check_transport,
    check_version,
    check_workers,
    has_failed,
)
from promptmill.cli.doctor.providers import check_providers, judge, missing
from settings import ProviderSettings, Settings

SECRET = "sk-not-to-be-shown"


@pytest.mark.parametrize(
    ("info", "level", "found"),
    [
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, "ok", "Valkey 9.1.2"),
        ({"redis_version": "6.2.0"}, "ok", "Redis 6.2.0"),
        ({"redis_version": "6.0.16"}, "fail", "Redis 6.0.16"),
        ({}, "unknown", "Redis of an unknown version"),
    ],
)
def test_the_server_is_named_and_must_be_recent(info: dict[str, str], level: str, found: str) -> None:
    finding = check_version(info)
    assert (finding.level, finding.found) == (level, found)


def test_a_server_that_evicts_fails_and_one_that_does_not_say_is_unknown() -> None:
    assert check_eviction({}, {"maxmemory-policy": "noeviction"}).level == "ok"
    assert check_eviction({"maxmemory_policy": "allkeys-lru"}, {}).level == "fail"
    assert check_eviction({}, {}).level == "unknown"


@pytest.mark.parametrize(
    ("used", "limit", "level"),
    [
        (79, 100, "ok"),
        (80, 100, "warn"),
        (99, 100, "warn"),
        (100, 100, "fail"),
        (5, 0, "ok"),
        (5, None, "unknown"),
    ],
)
def test_memory_is_warned_of_before_the_server_is_full(used: int, limit: int | None, level: str) -> None:
    info = {"used_memory": used} | ({} if limit is None else {"maxmemory": limit})
    assert check_memory(info, {}).level == level
    assert (
        check_memory({"used_memory": used}, {} if limit is None else {"maxmemory": str(limit)}).level == level
    )


def test_rights_that_are_missing_are_named() -> None:
    assert (check_rights([]).level, check_rights(None).level) == ("ok", "unknown")
    finding = check_rights(["+publish", "&mill:*"])
    assert finding.level == "fail"
    assert "+publish &mill:*" in finding.found


@pytest.mark.parametrize(
    ("info", "config", "level"),
    [
        ({}, {"appendonly": "yes"}, "ok"),
        ({"aof_enabled": 1}, {}, "ok"),
        ({}, {"appendonly": "no", "save": "3600 1"}, "warn"),
        ({}, {"appendonly": "no", "save": ""}, "warn"),
        ({"aof_enabled": 0}, {}, "unknown"),
        ({"aof_last_write_status": "err"}, {"appendonly": "yes"}, "fail"),
    ],
)
def test_persistence_is_what_a_restart_would_lose(
    info: dict[str, Any], config: dict[str, str], level: str
) -> None:
    assert check_persistence(info, config).level == level


def test_connections_must_leave_room_for_a_worker_and_a_client() -> None:
    assert check_connections({"connected_clients": 13, "maxclients": 20}, {}).level == "ok"  # 4 and 3
    assert check_connections({"connected_clients": 14}, {"maxclients": "20"}).level == "warn"
    assert check_connections({"connected_clients": 15}, {}).level == "unknown"


@pytest.mark.parametrize(
    ("url", "cert_reqs", "level"),
    [
        ("unix:///run/redis.sock", None, "ok"),
        (f"redis://:{SECRET}@localhost:6379", None, "ok"),
        (f"redis://:{SECRET}@redis.example:6379", None, "warn"),
        (f"rediss://:{SECRET}@redis.example:6379", None, "ok"),
        (f"rediss://:{SECRET}@redis.example:6379", "none", "warn"),
    ],
)
def test_transport_is_judged_without_showing_the_password(
    url: str, cert_reqs: str | None, level: str
) -> None:
    finding = check_transport(server_address(url, ssl_cert_reqs=cert_reqs))
    assert finding.level == level
    assert SECRET not in repr(finding)


def test_a_drain_must_fit_in_what_heroku_gives() -> None:
    assert check_drain(20).level == check_drain(25).level == "ok"
    assert check_drain(26).level == "warn"


def test_a_missing_worker_is_a_warning_only_on_a_server_that_should_have_one() -> None:
    assert check_workers(alive=True, private=False).level == "ok"
    assert check_workers(alive=False, private=False).level == "warn"
    assert check_workers(alive=False, private=True).level == "ok"


def test_a_worker_for_cpu_jobs_is_missed_only_where_such_jobs_wait() -> None:
    assert check_cpu_workers(alive=True, jobs=True).level == "ok"
    assert check_cpu_workers(alive=False, jobs=False).level == "ok"
    assert check_cpu_workers(alive=False, jobs=True).level == "warn"


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (200, "ok"),
        (401, "fail"),
        (403, "fail"),
        (404, "warn"),
        (429, "warn"),
        (503, "warn"),
        ("ConnectError", "fail"),
    ],
)
def test_a_provider_is_judged_by_its_answer(answer: int | str, level: str) -> None:
    assert judge("openai", Settings(_env_file=None).all_providers()["openai"], answer).level == level


def test_the_advice_names_the_variable_of_the_provider() -> None:
    local = ProviderSettings(base_url="http://localhost:1/v1")
    providers = Settings(_env_file=None, providers={"local": local}).all_providers()
    assert "OPENAI_API_KEY" in (judge("openai", providers["openai"], 401).advice or "")
    assert "PROVIDERS__LOCAL__API_KEY" in (judge("local", providers["local"], 401).advice or "")
    assert "PROVIDERS__LOCAL__BASE_URL" in (missing("local", None).advice or "")


@pytest.mark.parametrize(
    ("key", "taken", "refused"),
    [
        (SECRET, "reached, and it takes the key", "key refused (status 401)"),
        (None, "reached, without a key", "wants a key (status 401)"),
    ],
)
def test_a_key_is_told_of_only_where_there_is_one(key: str | None, taken: str, refused: str) -> None:
    local = ProviderSettings(base_url="http://localhost:1/v1", api_key=SecretStr(key) if key else None)
    assert [judge("local", local, answer).found for answer in (200, 401)] == [taken, refused]


async def test_only_usable_providers_are_asked_and_each_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, httpx.Headers] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen[str(request.url)] = request.headers
        return httpx.Response(200)

    client = httpx.AsyncClient
    transport = httpx.MockTransport(answer)
    monkeypatch.setattr("httpx.AsyncClient", lambda **options: client(transport=transport, **options))
    settings = Settings(_env_file=None, anthropic_api_key=SECRET, openai_api_key=None)
    findings = await check_providers(settings)
    assert [(f.check, f.level) for f in findings] == [
        ("provider anthropic", "ok"),
        ("provider openai", "fail"),
    ]
    assert seen["https://api.anthropic.com/v1/models"]["x-api-key"] == SECRET
    assert SECRET not in repr(findings)


async def test_google_says_400_of_a_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400 if request.headers.get("x-goog-api-key") == SECRET else 500)

    client = httpx.AsyncClient
    transport = httpx.MockTransport(answer)
    monkeypatch.setattr("httpx.AsyncClient", lambda **options: client(transport=transport, **options))
    settings = Settings(_env_file=None, gemini_api_key=SECRET, default_model="gemini/gemini-2.5-flash")
    findings = {finding.check: finding for finding in await check_providers(settings)}
    assert findings["provider gemini"].level == "fail"
    assert "GEMINI_API_KEY" in (findings["provider gemini"].advice or "")


def test_only_a_failure_fails() -> None:
    assert not has_failed([Finding("a", "warn", ""), Finding("b", "unknown", "")])
    assert has_failed([Finding("a", "ok", ""), Finding("b", "fail", "")])
