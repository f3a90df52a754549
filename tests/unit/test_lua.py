"""Each file of Lua says what it takes and gives, names what it needs, and makes up no name of a key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from client import Limit
from client.limits.rules import gauge
from client.limits.rules.limit import DEFAULTS
from client.limits.rules.retry_after import MAX_RETRY_AFTER_S
from client.redis.texts import source
from client.wire.keys import KEYS, Keys

ROOT = Path(__file__).parents[2]
FILES = {path.stem: path for room in ("client", "worker") for path in sorted((ROOT / room).rglob("*.lua"))}
TEXTS = {name: path.read_text() for name, path in FILES.items()}
LINES = 150
LOCALS = 200  # Lua has no more in one function


def listed(name: str, word: str) -> set[str]:
    """What a header lists behind `-- needs:` or `-- gives:`, on that line and those that are set in under it."""
    found = re.search(rf"^-- {word}: (.+\n(?:--  +.+\n)*)", TEXTS[name], re.MULTILINE)
    return set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", found[1]))) if found else set()


def code(name: str) -> str:
    return re.sub(r"--.*", "", TEXTS[name])


def closure(name: str) -> set[str]:
    needs = listed(name, "needs")
    return needs.union(*map(closure, needs))


SHARED = set[str]().union(*(listed(name, "needs") for name in TEXTS))
VERBS = sorted(TEXTS.keys() - SHARED)


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_begins_with_its_contract_and_is_short(name: str) -> None:
    header = re.match(r"(--.*\n)+", TEXTS[name])
    assert header is not None
    parts = (
        [rf"^-- {name}: .+\.$", r"^-- gives: "] if name in SHARED else [rf"^-- {name}: .+\.$", r"^-- ARGV\b"]
    )
    for part in parts if name in SHARED else [*parts, r"^-- Returns "]:
        assert re.search(part, header[0], re.MULTILINE), part
    assert len(TEXTS[name].splitlines()) <= LINES


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_needs_what_it_uses(name: str) -> None:
    text = code(name)
    for other in SHARED - {name}:
        used = {
            given for given in listed(other, "gives") if re.search(rf"(?<![.\w]){given}\b(?!\s*=[^=])", text)
        }
        own = {given for given in used if re.search(rf"\blocal [^=]*\b{given}\b|function {given}\(", text)}
        assert used == own or other in closure(name), f"{used - own} of {other}"


@pytest.mark.parametrize("name", sorted(SHARED))
def test_a_shared_file_gives_what_it_says(name: str) -> None:
    for given in listed(name, "gives") - {"ms"}:
        assert re.search(rf"^local (?:function {given}\(|[^=]*\b{given}\b)", TEXTS[name], re.MULTILINE), given


@pytest.mark.parametrize("name", VERBS)
def test_all_names_come_from_the_table(name: str) -> None:
    room = ".".join(FILES[name].relative_to(ROOT).parts[:-2])
    text = source(room, name, Keys("{llm}:"))
    plain = source(room, name, KEYS)
    assert text.replace("{llm}:", "") == plain
    parts = {*closure(name), name} - {"names"}  # names makes and reads fencing tokens, 'mill:…'
    assert not [part for part in parts if re.search(r"arq:|mill:", code(part))]
    assert "KEYS[" not in text
    top = re.findall(r"^local (?:function (\w+)|([^=\n]+))", text, re.MULTILINE)
    assert sum(1 if function else len(names.split(",")) for function, names in top) < LOCALS * 0.8


@pytest.mark.parametrize("name", VERBS)
def test_constants_are_written_in_where_they_are_used(name: str) -> None:
    room = ".".join(FILES[name].relative_to(ROOT).parts[:-2])
    text = source(room, name, KEYS)
    assert not re.search(r"\b(?:KEY|FACT)\b|--|^local [A-Z_]+(?:, [A-Z_]+)* = [\d.e]+$", text, re.MULTILINE)
    declared = [
        one
        for part in (*closure(name), name)
        for names in re.findall(r"local ([A-Z][A-Z0-9_]+(?:, [A-Z][A-Z0-9_]+)*) =", code(part))
        for one in names.split(", ")
    ]
    assert len(declared) == len(set(declared))  # what one file means by a name is not written into another


@pytest.mark.parametrize("name", VERBS)
def test_functions_that_nothing_calls_are_left_out_and_no_others(name: str) -> None:
    text = source(".".join(FILES[name].relative_to(ROOT).parts[:-2]), name, KEYS)
    defined = [*re.finditer(r"^local function (\w+)", text, re.MULTILINE)]
    assert all(re.search(rf"\b{one[1]}\b", text[one.end() :]) for one in defined)
    every = {
        one
        for part in closure(name)
        for one in re.findall(r"^local function (\w+)", code(part), re.MULTILINE)
    }
    called = {one for one in every if re.search(rf"(?<![.\w]){one}\(", text)}
    assert called <= {one[1] for one in defined}


def test_what_both_sides_reckon_with_is_the_same() -> None:
    def constant(name: str, of: str) -> float:
        found = re.search(rf"^local {of} = ([\d.]+)\b", TEXTS[name], re.MULTILINE)
        assert found
        return float(found[1])

    assert constant("clock", "DAY_MS") == gauge.DAY_MS
    assert constant("state", "BURST") == gauge.BURST
    assert constant("congestion", "ASKED_MOST_MS") == MAX_RETRY_AFTER_S * 1_000
    assert "local CONVERSATION = { concurrency = 1 }" in TEXTS["state"]
    assert {"conversation:*": Limit(concurrency=1)} == DEFAULTS


@pytest.mark.parametrize("constant", ["QUARANTINE_MS", "MAX_GATES", "EPOCH_TTL_MS", "DAY_MS", "SLOTS_TTL_MS"])
def test_a_constant_stands_once(constant: str) -> None:
    assert sum(len(re.findall(rf"\b{constant} =", code(name))) for name in TEXTS) == 1
    assert not [name for name in TEXTS if "86400000" in code(name) and name != "clock"]
