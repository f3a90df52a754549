"""`.env` is read, and what anybody may have written into it leads no secret of the environment elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from settings import OPENAI_URL, Settings, SettingsError, load

SECRET = "sk-Zebra-4711"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.lower() in Settings.model_fields or name.startswith("PROVIDERS"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_a_dotenv_file_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"MAX_JOBS=3\nMAX_TRIES=4\nOPENAI_API_KEY={SECRET}\nUNRELATED=1\n")
    monkeypatch.setenv("MAX_TRIES", "9")
    loaded = load()
    assert (loaded.max_jobs, loaded.max_tries) == (3, 9)
    assert loaded.openai_api_key is not None
    assert loaded.openai_api_key.get_secret_value() == SECRET


# .env, the environment, whether a key of the latter would be sent where only the former says
URL = "OPENAI_BASE_URL=http://u:pw@odd.example/v1"
MIXED = [
    (URL, {"OPENAI_API_KEY": SECRET}, True),
    ("ANTHROPIC_BASE_URL=https://odd.example", {"ANTHROPIC_API_KEY": SECRET}, True),
    ("gemini_base_url=https://odd.example/v1beta", {"Gemini_Api_Key": SECRET}, True),
    ("PROVIDERS__X__BASE_URL=http://odd.example/v1", {"PROVIDERS__X__API_KEY": SECRET}, True),
    ("PROVIDERS__X__BASE_URL=http://odd.example", {"PROVIDERS": f'{{"x": {{"api_key": "{SECRET}"}}}}'}, True),
    (f"{URL}\nOPENAI_API_KEY=another", {"OPENAI_API_KEY": SECRET}, True),
    (URL + "/${OPENAI_API_KEY}", {"OPENAI_API_KEY": SECRET}, True),
    (URL + "/${AWS_SECRET}", {"AWS_SECRET": SECRET}, True),
    (URL + "/?of=${DATABASE_URL}", {"DATABASE_URL": "postgres://me:pw@db.example/x"}, True),
    (
        "PROVIDERS__X__BASE_URL=http://odd.example\nPROVIDERS__X__API_KEY=${K_TOKEN}",
        {"K_TOKEN": SECRET},
        True,
    ),
    # whoever wrote the file knows the key, or did not choose where it goes
    (f"{URL}\nOPENAI_API_KEY={SECRET}", {}, False),
    (f"{URL}\nOPENAI_API_KEY={SECRET}", {"OPENAI_API_KEY": SECRET}, False),
    (URL, {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "http://known.example"}, False),
    (URL, {"ANTHROPIC_API_KEY": SECRET}, False),
    (URL, {}, False),
    (f"OPENAI_BASE_URL={OPENAI_URL}/", {"OPENAI_API_KEY": SECRET}, False),
    (f"OPENAI_API_KEY={SECRET}", {"OPENAI_BASE_URL": "http://known.example"}, False),
    ("MAX_JOBS=3", {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "http://known.example"}, False),
]


@pytest.mark.parametrize(("text", "environment", "is_refused"), MIXED)
def test_a_key_of_the_environment_is_not_sent_where_only_a_dotenv_file_says(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    text: str,
    environment: dict[str, str],
    is_refused: bool,
) -> None:
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if not is_refused:
        load()
        return
    with pytest.raises(
        SettingsError, match=r"^\.env in this directory .* to odd\.example: .*_BASE_URL"
    ) as refusal:
        load()
    assert SECRET not in str(refusal.value)


TLS = "rediss://:pw@known.example:6380"
REDIS = [
    ("REDIS_SSL_CERT_REQS=none", {"REDIS_URL": TLS}, "REDIS_SSL_CERT_REQS"),
    ("redis_ssl_cert_reqs = optional ", {"REDIS_URL": TLS}, "REDIS_SSL_CERT_REQS"),
    ("REDIS_SSL_CERT_REQS=none\nREDIS_URL=rediss://odd.example", {"REDIS_URL": TLS}, "REDIS_SSL_CERT_REQS"),
    ("REDIS_SSL_CERT_REQS=none", {"redis_url": "REDISS+sentinel://h:1/m"}, "REDIS_SSL_CERT_REQS"),
    ("REDIS_URL=redis://:${AWS_SECRET}@odd.example", {"AWS_SECRET": SECRET}, "REDIS_URL"),
    ("REDIS_URL=redis://${AWS_SECRET}.odd.example", {"AWS_SECRET": SECRET}, "REDIS_URL"),
    ("REDIS_URL=redis://odd.example/?db=${DATABASE}", {"DATABASE": "pg://me:pw@h/db"}, "REDIS_URL"),
    # whoever wrote the file knows the server, or weakens nothing
    (f"REDIS_SSL_CERT_REQS=none\nREDIS_URL={TLS}", {}, None),
    (f"REDIS_SSL_CERT_REQS=none\nREDIS_URL={TLS}", {"REDIS_URL": TLS}, None),
    ("REDIS_SSL_CERT_REQS=none", {"REDIS_URL": TLS, "REDIS_SSL_CERT_REQS": "none"}, None),
    ("REDIS_SSL_CERT_REQS=none", {"REDIS_URL": TLS, "REDIS_SSL_CERT_REQS": "required"}, None),
    ("REDIS_SSL_CERT_REQS=none", {"REDIS_URL": f"{TLS}?ssl_cert_reqs=required"}, None),
    ("REDIS_SSL_CERT_REQS=required", {"REDIS_URL": TLS}, None),
    ("REDIS_SSL_CERT_REQS=none", {"REDIS_URL": "redis://:pw@known.example"}, None),
    ("REDIS_SSL_CERT_REQS=none", {}, None),
    (f"REDIS_URL=redis://:{SECRET}@odd.example", {"AWS_SECRET": SECRET}, None),
    ("REDIS_URL=redis://odd.example/${AWS_SECRET}", {"AWS_SECRET": SECRET, "REDIS_URL": TLS}, None),
]


@pytest.mark.parametrize(("text", "environment", "named"), REDIS)
def test_a_dotenv_file_neither_weakens_nor_reads_what_the_environment_says_of_redis(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    text: str,
    environment: dict[str, str],
    named: str | None,
) -> None:
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if named is None:
        load()
        return
    with pytest.raises(
        SettingsError, match=rf"^\.env in this directory .*: .* set {named} in the"
    ) as refusal:
        load()
    assert not any(value in str(refusal.value) for value in environment.values())


def test_a_dotenv_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"OPENAI_API_KEY=\xe9\n")
    with pytest.raises(SettingsError, match=r"^\.env cannot be read: it is not UTF-8\.$"):
        load()
