"""The name of a lane. Its limit keys: tests/server/test_wire_lua.py."""

from __future__ import annotations

from typing import Any

import pytest

from client import InvalidRequest
from client.limits.rules.lanes import Kind, checked_key, joined, model_part, place


def lane_name(model: str | None, kind: Kind, **options: Any) -> str:
    return joined(model_part(model, kind), *place(**options))


@pytest.mark.parametrize(
    ("model", "kind", "name"),
    [
        ("openai/gpt-4o", "chat", "openai/gpt-4o"),
        ("OpenAI/GPT-4o", "chat", "openai/GPT-4o"),
        ("local/org/m:7b.q4", "embed", "local/org/m:7b.q4"),
        (None, "chat", "@chat"),
        (None, "embed", "@embed"),
        ("gpt-4o", "chat", "@chat/gpt-4o"),
        ("voyage-3-lite", "embed", "@embed/voyage-3-lite"),
    ],
)
def test_a_name_begins_with_the_model_or_an_alias(model: str | None, kind: Kind, name: str) -> None:
    assert lane_name(model, kind) == name


def test_the_parts_of_a_name_are_in_one_order() -> None:
    name = lane_name("p/m", "chat", lane="bulk", limits=["gpu", "nightly"], conversation="42", tenant="acme")
    assert name == "p/m|tenant:acme|conversation:42|gpu|nightly|bulk"


def test_a_key_counts_once_however_often_it_is_given() -> None:
    name = lane_name("p/m", "chat", tenant="a", limits=["gpu", "tenant:a", "gpu", "p", "p/m"], lane="gpu")
    assert name == "p/m|tenant:a|gpu|p"


def test_one_limit_may_be_given_as_a_text() -> None:
    assert place(limits="gpu") == ("gpu",)


def test_the_number_of_limits_has_an_end() -> None:
    assert len(place("t", "c", [str(n) for n in range(16)], "l")) == 19
    with pytest.raises(InvalidRequest, match=r"^A job can have 16 limits of its own, not 17\.$"):
        place(limits=[str(n) for n in range(17)])


@pytest.mark.parametrize("name", ["tenant:acme", "gpu-box", "openai/gpt-4o", "ä", "日本", "x" * 256])
def test_a_limit_key_is_nearly_any_name(name: str) -> None:
    assert checked_key(name) == name


WRONG: list[Any] = ["", "a b", "a\n", "a\u00a0b", *"|,=@!*", "tenant:*", "x" * 257, "\ud800", 7, None, ["a"]]


@pytest.mark.parametrize("name", WRONG)
def test_a_name_that_cannot_be_a_limit_key_is_refused(name: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^A limit key is a name of 1 to 256 characters, .*\.$"):
        checked_key(name)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"model": "p/m 2"}, "model"),
        ({"tenant": ""}, "tenant"),
        ({"tenant": "x" * 250}, "limit key"),
        ({"conversation": "a|b"}, "conversation"),
        ({"limits": ["gpu", ""]}, "limit key"),
        ({"lane": "a b"}, "lane"),
    ],
)
def test_the_part_that_is_wrong_is_named(options: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"^A {what} is a name"):
        lane_name(**{"model": "p/m", "kind": "chat", **options})


def test_a_model_whose_name_cannot_be_a_key_is_limited_under_one_that_can() -> None:
    assert lane_name("Vertex/claude@2025", "chat") == "vertex/claude-2025"
    assert lane_name("claude@2025", "chat") == "@chat/claude-2025"
