"""The limits of the settings: the file and the variable, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from client import Limit
from client.limits.rules.limit import FIELDS
from settings import Settings, SettingsError
from worker.app import worker_settings
from worker.limits import aliases, configured

ROOT = Path(__file__).parents[2]


def settings(**fields: str) -> Settings:
    chosen: dict[str, Any] = {"limits": None, "limits_file": None, **fields}
    return Settings(_env_file=None, **chosen)


def test_limits_are_read_from_the_variable() -> None:
    text = " OpenAI/gpt-4o concurrency=50 rpm=600,\n tenant:* concurrency=5 ,"
    assert configured(settings(limits=text)) == {
        "openai/gpt-4o": Limit(concurrency=50, rpm=600),
        "tenant:*": Limit(concurrency=5),
    }
    assert configured(settings()) == {}


def test_the_variable_wins_over_the_file_key_by_key(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text('["openai/gpt-4o"]\nrpm = 600\ntpm = 100_000\n["tenant:*"]\nconcurrency = 5\n')
    found = configured(settings(limits="openai/gpt-4o concurrency=2", limits_file=str(file)))
    assert found == {"openai/gpt-4o": Limit(concurrency=2), "tenant:*": Limit(concurrency=5)}


@pytest.mark.parametrize(
    ("text", "key", "fault"),
    [
        ("openai/gpt-4o rpm=x", "openai/gpt-4o", "rpm is a number above 0"),
        ("openai rpm=1, openai/gpt-4o rmp=1", "openai/gpt-4o", "'rmp=1' is no limit"),
        ("openai", "openai", "it limits nothing"),
        ("tenant* rpm=1", "tenant*", "A pattern ends with ':*'"),
        ("a|b rpm=1", "a|b", "A limit key is a name"),
        ("a/b rpm=1, A/b rpm=2", "A/b", "it is there twice"),
    ],
)
def test_a_wrong_variable_stops_the_worker_with_one_sentence(text: str, key: str, fault: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        worker_settings(settings(limits=text, redis_url="redis://localhost"))
    sentence = str(refusal.value)
    assert sentence.startswith(f"LIMITS cannot be used for {key}: {fault}")
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[openai]\nrpm = -1", "cannot be used for openai: rpm is a number above 0, not -1"),
        ("[openai]\ncolour = 1", "cannot be used for openai: 'colour' is no field of a limit"),
        ("[openai]\nrpm = true", "cannot be used for openai: rpm is a number"),
        ("openai = 5", "cannot be used for openai: a limit is a table"),
        ("[openai/gpt-4o]\nrpm = 1", "is not TOML: "),
        ("[openai.x]\nrpm = 1", "cannot be used for openai: 'x' is no field"),
        ("[openai]", "cannot be used for openai: it limits nothing"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_file_stops_the_worker_with_one_sentence(
    tmp_path: Path, text: str | None, words: str
) -> None:
    file = tmp_path / "limits.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError) as refusal:
        configured(settings(limits_file=str(file)))
    assert str(refusal.value).startswith(f"LIMITS_FILE, {file}, {words}")
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"LIMITS_FILE.*is not TOML"):
        configured(settings(limits_file=str(file)))


def test_the_aliases_are_the_default_models() -> None:
    found = aliases(settings(default_model="OpenAI/GPT", default_embed_model="local/a/b"))
    assert found == {"@chat": "openai/GPT", "@embed": "local/a/b"}


def test_the_file_of_the_readme_is_read(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(\[openai\].*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    file = tmp_path / "limits.toml"
    file.write_text(block)
    found = configured(settings(limits_file=str(file)))
    assert found["tenant:acme"] == Limit(concurrency=20, weight=3)
    assert list(found) == ["openai", "openai/gpt-4o", "tenant:*", "tenant:acme"]


def test_the_page_of_limits_has_every_field() -> None:
    page = (ROOT / "docs/limits.md").read_text()
    (table,) = re.findall(r"^\| field .*?\n\n", page, re.S | re.M)
    assert re.findall(r"^\| `(\w+)`", table, re.M) == list(FIELDS)
