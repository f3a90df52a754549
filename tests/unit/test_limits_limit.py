"""A limit: its words, its JSON, and which one is in force."""

from __future__ import annotations

import pytest

from client import InvalidRequest, Limit
from client.limits.rules.limit import (
    FIELDS,
    LimitFields,
    checked_name,
    from_json,
    in_force,
    made,
    names_of,
    parse_changes,
    parse_limit,
)

WORDS = (
    "concurrency=50 rpm=0.5 tpm=100000 rpd=250 tpd=2000000 usd_per_day=2.5 usd_total=10 weight=3 paused=true"
)


def test_words_are_read_and_written() -> None:
    limit = parse_limit("concurrency=50 rpm=600 tpm=100_000")
    assert limit == Limit(concurrency=50, rpm=600, tpm=100_000)
    assert limit.words() == "concurrency=50 rpm=600 tpm=100000"
    assert parse_limit(WORDS).words() == WORDS
    assert parse_limit("") == Limit()


def test_json_holds_only_what_is_set_and_is_the_same_for_equal_limits() -> None:
    assert Limit(rpm=600.0, concurrency=5).to_json() == '{"concurrency":5,"rpm":600}'
    assert parse_limit("rpm=600 concurrency=5 paused=false").to_json() == '{"concurrency":5,"rpm":600}'
    assert from_json(parse_limit(WORDS).to_json().encode()) == parse_limit(WORDS)


@pytest.mark.parametrize("data", [None, b"", b"nonsense", b"[1]", b'{"rpm":"x"}', b'{"new_field":1}'])
def test_json_that_another_wrote_limits_nothing(data: bytes | None) -> None:
    assert from_json(data) == Limit()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("rmp=6", "'rmp=6' is no limit: it is written FIELD=VALUE"),
        ("rpm", "'rpm' is no limit"),
        ("rpm=0", "rpm is a number above 0, not '0'"),
        ("rpm=nan", "rpm is a number above 0"),
        ("tpm=inf", "tpm is a number above 0"),
        ("tpm=1e13", "tpm is a number above 0"),
        ("concurrency=1.5", "concurrency is a whole number, 0 or more, not '1.5'"),
        ("concurrency=-1", "concurrency is a whole number, 0 or more"),
        ("weight=101", "weight is a whole number from 1 to 100"),
        ("paused=perhaps", "paused is true or false"),
        ("usd_total=-1", "usd_total is a number, 0 or more"),
        ("rpm=1 rpm=2", "rpm is there twice"),
    ],
)
def test_bad_words_are_refused_in_one_sentence(words: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_limit(words)
    sentence = str(refusal.value)
    assert sentence.startswith(reason)
    assert sentence.endswith(".")
    assert "twice" in sentence or all(field in sentence for field in FIELDS)


@pytest.mark.parametrize("fields", [{"rpm": True}, {"colour": 1}, {"weight": [1]}, {"usd_total": "much"}])
def test_bad_fields_are_refused_by_name(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(fields))):
        made(fields)


def test_a_change_may_clear_a_field() -> None:
    assert parse_changes("rpm=none tpm=- weight=2") == {"rpm": None, "tpm": None, "weight": 2}
    assert set(LimitFields.__annotations__) == set(Limit.model_fields) == set(FIELDS)


@pytest.mark.parametrize(
    ("name", "checked"),
    [
        ("OpenAI/GPT-4o", "openai/GPT-4o"),
        ("tenant:Acme/West", "tenant:Acme/West"),
        ("gpu-box", "gpu-box"),
        ("tenant:*", "tenant:*"),
        ("a:b:*", "a:b:*"),
    ],
)
def test_a_name_is_a_key_or_a_pattern(name: str, checked: str) -> None:
    assert checked_name(name) == checked


@pytest.mark.parametrize("name", ["", "a b", "a|b", "a,b", "*", "gpu*", "a*b:*", "x" * 257, "!a", "@chat"])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_name(name)


def test_the_own_limit_wins_then_the_longest_pattern_then_the_default() -> None:
    one, two, three = Limit(rpm=1), Limit(rpm=2), Limit(rpm=3)
    entries = {"a:b:c": one, "a:b:*": two, "a:*": three}
    assert names_of("a:b:c") == ["a:b:c", "a:b:*", "a:*"]
    assert in_force("a:b:c", entries) == (one, "own")
    assert in_force("a:b:d", entries) == (two, "a:b:*")
    assert in_force("a:d", entries) == (three, "a:*")
    assert in_force("a", entries) == (Limit(), "none")
    assert in_force("conversation:42", entries) == (Limit(concurrency=1), "default")
    assert in_force("conversation:42", {"conversation:*": three}) == (three, "conversation:*")
