"""What others wrote, and counts, as a person reads them."""

from __future__ import annotations

import json
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.words import counted, logger, shown

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
TEXTS = st.text(st.characters(max_codepoint=0xFFFF)) | st.text(
    st.sampled_from("a\x1b[]\r\n\t\x9b\x7f" + BIDI)
)


def is_obeyed(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in BIDI


@given(TEXTS)
def test_nothing_that_is_shown_is_obeyed(text: str) -> None:
    assert {character for character in shown(text) if is_obeyed(character)} <= {"\n", "\t"}
    assert not any(map(is_obeyed, shown(text, one_line=True)))


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])))
def test_words_of_any_language_stay_as_they_are(text: str) -> None:
    assert shown(text) == shown(text, one_line=True) == text


@given(TEXTS)
def test_what_is_shown_of_json_is_the_same_json(text: str) -> None:
    written = json.dumps({"text": text}, ensure_ascii=False)
    assert json.loads(shown(written)) == {"text": text}


def test_a_sequence_in_two_parts_is_not_obeyed_either() -> None:
    assert shown("\x1b") + shown("[2J") == "\\u001b[2J"


def test_a_text_keeps_its_lines_and_a_field_is_one() -> None:
    assert shown("a\r\nb\n\tc\rd") == "a\nb\n\tc\\rd"
    assert shown("a\r\nb\n\tc\rd", one_line=True) == "a\\r\\nb\\n\\tc\\rd"


def test_a_sequence_that_joins_emoji_stays() -> None:
    assert shown("👩‍🔬") == "👩‍🔬"


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 lines"), (1, "1 line"), (2, "2 lines"), (1_234, "1,234 lines")]
)
def test_one_is_no_plural(number: int, said: str) -> None:
    assert counted(number, "line") == said


def test_a_plural_may_be_another_word() -> None:
    assert (counted(1, "reply", "replies"), counted(2, "reply", "replies")) == ("1 reply", "2 replies")


def test_a_logger_shows_what_others_wrote_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    ours = logger("promptmill.test")
    assert logger("promptmill.test") is ours
    assert len(ours.filters) == 1
    with caplog.at_level(logging.INFO, "promptmill.test"):
        ours.warning("%s failed after %d tries, %.1f s: %s", "job\n2", 3, 0.5, ValueError("\x1b[2J"))
        ours.warning("a message\x1b[0m of %(name)s", {"name": "\u202eodd"})
    assert caplog.messages == [
        "job\\n2 failed after 3 tries, 0.5 s: \\u001b[2J",
        "a message\\u001b[0m of \\u202eodd",
    ]


def test_a_trace_in_the_log_is_shown_too(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("\x1b]0;title\x07")
    except ValueError:
        logger("promptmill.test").exception("it failed")
    assert "ValueError: \\u001b]0;title\\u0007" in caplog.text
    assert "\x1b" not in caplog.text
