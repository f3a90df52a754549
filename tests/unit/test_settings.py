"""Settings: every variable is read, a wrong one is named, a secret is never shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from settings import (
    ANTHROPIC_URL,
    BUILT_IN,
    GEMINI_URL,
    OPENAI_URL,
    ProviderSettings,
    Settings,
    SettingsError,
    load,
)

SECRET = "sk-Zebra-4711"

# variable, text, field, value
READ: list[tuple[str, str, str, Any]] = [
    ("REDIS_SSL_CERT_REQS", "none", "redis_ssl_cert_reqs", "none"),
    ("PROMPTMILL_DATA_DIR", "/srv/mill", "data_dir", "/srv/mill"),
    ("OPENAI_BASE_URL", "http://localhost:8000/v1/", "openai_base_url", "http://localhost:8000/v1"),
    ("ANTHROPIC_BASE_URL", "https://proxy/v1", "anthropic_base_url", "https://proxy"),
    ("GEMINI_BASE_URL", "https://proxy/v1beta", "gemini_base_url", "https://proxy/v1beta"),
    ("DEFAULT_MODEL", "local/a/b", "default_model", "local/a/b"),
    ("DEFAULT_EMBED_MODEL", "local/e", "default_embed_model", "local/e"),
    ("PRICES_FILE", "prices.toml", "prices_file", "prices.toml"),
    ("MAX_JOBS", "7", "max_jobs", 7),
    ("MAX_TRIES", "3", "max_tries", 3),
    ("JOB_TIMEOUT_S", "1.5", "job_timeout_s", 1.5),
    ("REQUEST_TIMEOUT_S", "2", "request_timeout_s", 2),
    ("CONNECT_TIMEOUT_S", "3", "connect_timeout_s", 3),
    ("UNREACHABLE_S", "0", "unreachable_s", 0),
    ("STREAM_SILENCE_S", "4", "stream_silence_s", 4),
    ("MAX_ANSWER_MB", "5", "max_answer_mb", 5),
    ("MAX_RESULT_MB", "7", "max_result_mb", 7),
    ("RESULT_TTL_S", "60", "result_ttl_s", 60),
    ("STREAM_TTL_S", "30", "stream_ttl_s", 30),
    ("DRAIN_S", "0", "drain_s", 0),
    ("LEASE_S", "30", "lease_s", 30),
    ("REDIS_OUTAGE_S", "60", "redis_outage_s", 60),
    ("JOB_MODULES", " my.jobs, other ,", "job_modules", ("my.jobs", "other")),
    ("LOOP_LAG_WARN_MS", "0", "loop_lag_warn_ms", 0),
    ("CPU_PROCESSES", "3", "cpu_processes", 3),
    ("CPU_MEMORY_MB", "512", "cpu_memory_mb", 512),
    ("LIMITS", "openai rpm=600, tenant:* tpm=1", "limits", "openai rpm=600, tenant:* tpm=1"),
    ("LIMITS_FILE", "limits.toml", "limits_file", "limits.toml"),
]
SECRETS = ("REDIS_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")

REFUSED = [
    ("REDIS_SSL_CERT_REQS", "maybe", "'none', 'optional' or 'required'"),
    ("OPENAI_BASE_URL", "localhost:8000", "must start with http:// or https://"),
    ("ANTHROPIC_BASE_URL", "https://", "must name a host"),
    ("DEFAULT_MODEL", "gpt-4o", "must be provider/model"),
    ("DEFAULT_EMBED_MODEL", "openai/", "must be provider/model"),
    ("MAX_JOBS", "many", "valid integer"),
    ("MAX_JOBS", "0", "greater than or equal to 1"),
    ("MAX_TRIES", "101", "less than or equal to 100"),
    ("JOB_TIMEOUT_S", "0", "greater than 0"),
    ("REQUEST_TIMEOUT_S", "soon", "valid number"),
    ("RESULT_TTL_S", "nan", "less than or equal to"),
    ("LEASE_S", "0.5", "greater than or equal to 1"),
    ("REDIS_OUTAGE_S", "0", "greater than 0"),
    ("DRAIN_S", "-1", "greater than or equal to 0"),
    ("LOOP_LAG_WARN_MS", "-1", "greater than or equal to 0"),
    ("CPU_PROCESSES", "0", "greater than or equal to 1"),
    ("CPU_MEMORY_MB", "much", "valid integer"),
    ("PROVIDERS", "foo", "not a JSON object"),
    ("PROVIDERS", "[1]", "valid dictionary"),
    ("PROVIDERS__X", "foo", "valid dictionary"),
    ("PROVIDERS__X__BASE_URL", "ftp://host", "must start with http:// or https://"),
]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name in SECRETS or name.startswith("PROVIDERS") or name in {row[0] for row in READ}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("variable", "text", "field", "value"), READ, ids=[row[0] for row in READ])
def test_a_variable_is_read(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, value: object
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(load(), field) == value


@pytest.mark.parametrize("variable", SECRETS)
def test_a_secret_is_read_without_the_line_end_it_was_pasted_with(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f" {SECRET}\n")
    assert getattr(load(), variable.lower()).get_secret_value() == SECRET


def test_every_setting_has_a_test_of_its_variable() -> None:
    tested = {row[2] for row in READ} | {name.lower() for name in SECRETS} | {"providers"}
    assert tested == set(Settings.model_fields)


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    for variable in [*SECRETS, "PROVIDERS", *(row[0] for row in READ)]:
        if (variable, blank) != ("PROVIDERS", "  "):
            monkeypatch.setenv(variable, blank)
    assert load() == Settings.model_construct()


@pytest.mark.parametrize(("variable", "text", "reason"), REFUSED)
def test_a_wrong_value_is_refused_in_one_sentence_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, reason: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as refusal:
        load()
    sentence = str(refusal.value)
    assert sentence.startswith(f"{variable} cannot be used: ")
    assert reason in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_two_wrong_values_are_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_JOBS", "x")
    monkeypatch.setenv("MAX_TRIES", "y")
    with pytest.raises(SettingsError) as refusal:
        load()
    first, second = str(refusal.value).splitlines()
    assert first.startswith("MAX_JOBS")
    assert second.startswith("MAX_TRIES")


def test_a_provider_is_made_of_nested_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERS__Local__BASE_URL", "http://localhost:8000/v1/")
    monkeypatch.setenv("PROVIDERS__Local__API_KEY", SECRET)
    monkeypatch.setenv("PROVIDERS__Local__KIND", "anthropic")
    local = load().all_providers()["local"]
    assert (local.base_url, local.kind, local.needs_key) == ("http://localhost:8000/v1", "anthropic", False)
    assert local.api_key is not None
    assert local.api_key.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"PROVIDERS__X__API_KEY": SECRET}, "PROVIDERS__X__BASE_URL"),
        ({"PROVIDERS__X__BASE_URL": "http://h", "PROVIDERS__X__API_KEI": SECRET}, "PROVIDERS__X__API_KEI"),
        ({"PROVIDERS__X__BASE_URL": "http://h", "PROVIDERS__X__KIND": SECRET}, "PROVIDERS__X__KIND"),
        ({"PROVIDERS__X__BASE_URL": "http://h", "PROVIDERS__X__API_KEY__Y": SECRET}, "PROVIDERS__X__API_KEY"),
        ({"PROVIDERS": '{"x": {"api_key": "' + SECRET + '"}}'}, "PROVIDERS__X__BASE_URL"),
        ({"PROVIDERS": '{"x": {"api_key": "' + SECRET}, "PROVIDERS"),
        ({"OPENAI_BASE_URL": f"user:{SECRET}@host"}, "OPENAI_BASE_URL"),
        ({"MAX_JOBS": SECRET}, "MAX_JOBS"),
    ],
)
def test_a_refusal_shows_no_value(monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], named: str) -> None:
    for variable, text in extra.items():
        monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as refusal:
        load()
    assert str(refusal.value).startswith(f"{named} cannot be used: ")
    assert SECRET not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


def test_a_secret_is_in_no_repr_text_or_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in SECRETS:
        monkeypatch.setenv(variable, SECRET)
    monkeypatch.setenv("PROVIDERS__X__BASE_URL", "http://h")
    monkeypatch.setenv("PROVIDERS__X__API_KEY", SECRET)
    loaded = load()
    shown = [repr(loaded), str(loaded), loaded.model_dump_json(), repr(loaded.model_dump())]
    shown += [repr(loaded.all_providers()), str(loaded.all_providers()["openai"])]
    assert not [text for text in shown if SECRET in text]


def test_settings_are_frozen() -> None:
    loaded = load()
    with pytest.raises(ValidationError, match="frozen"):
        loaded.max_jobs = 1  # type: ignore[misc]  # what it refuses
    with pytest.raises(ValidationError, match="frozen"):
        loaded.all_providers()["openai"].base_url = "http://elsewhere"  # type: ignore[misc]  # what it refuses


def test_only_the_real_endpoints_need_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = load().all_providers()
    assert {name: p.base_url for name, p in providers.items()} == {
        "openai": OPENAI_URL,
        "anthropic": ANTHROPIC_URL,
        "gemini": GEMINI_URL,
    }
    assert tuple(providers) == tuple(BUILT_IN)
    assert all(provider.needs_key for provider in providers.values())
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    assert not load().all_providers()["openai"].needs_key


def test_a_provider_may_replace_a_built_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERS__OPENAI__BASE_URL", "http://localhost:2")
    assert load().all_providers()["openai"] == ProviderSettings(base_url="http://localhost:2").under(
        "PROVIDERS__OPENAI__"
    )


def test_the_version_of_an_address_stands_before_its_query() -> None:
    provider = ProviderSettings(base_url="https://h.test/a?v=1", kind="anthropic")
    assert provider.api_url == "https://h.test/a/v1?v=1"
    assert (
        provider.model_copy(update={"base_url": "https://h.test/v1?v=1"}).api_url == "https://h.test/v1?v=1"
    )
