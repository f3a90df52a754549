"""What is printed: shown on a terminal, exact in a pipe, and whole in any locale."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from promptmill.cli.ask import read_prompt
from promptmill.cli.failures import report
from promptmill.cli.printing import field, print_json, table
from promptmill.cli.terminal import say, say_to

HOSTILE = "before \x1b[2J\x1b]0;owned\x07\x9b31m\u202etxt.exe\u202c after\n\tlast"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def python(code: str, **env: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, timeout=30
    )
    return done.returncode, done.stdout, done.stderr


def test_a_terminal_shows_what_it_would_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    say(HOSTILE)
    assert terminal.getvalue() == (
        "before \\u001b[2J\\u001b]0;owned\\u0007\\u009b31m\\u202etxt.exe\\u202c after\n\tlast\n"
    )


def test_a_sequence_in_two_parts_of_a_stream_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    for part in ("\x1b", "[2J", "\x1b]0;t", "\x07"):
        say(part, end="")
    assert terminal.getvalue() == "\\u001b[2J\\u001b]0;t\\u0007"


def test_a_pipe_gets_it_as_it_is() -> None:
    pipe = io.StringIO()
    say_to(pipe, HOSTILE)
    assert pipe.getvalue() == f"{HOSTILE}\n"


def test_json_on_a_terminal_is_the_same_json(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    print_json({"text": HOSTILE})
    assert json.loads(terminal.getvalue()) == {"text": HOSTILE}
    assert not {"\x1b", "\x9b", "\u202e"} & set(terminal.getvalue())


def test_a_row_stays_one_line_and_its_columns_stay_straight() -> None:
    lines = table([("KEY", "N"), ("a\nb\x1b", "1"), ("abcdefghijklmnop", "22")], texts=1).split("\n")
    assert lines == ["KEY                N", "a\\nb\\u001b         1", "abcdefghijklmnop  22"]
    assert field("x\r\ny\t") == "x\\r\\ny\\t"


@pytest.mark.parametrize(
    "error", [click.UsageError(f"no {HOSTILE}"), click.ClickException(HOSTILE), click.BadParameter(HOSTILE)]
)
def test_what_click_refuses_is_shown(monkeypatch: pytest.MonkeyPatch, error: click.ClickException) -> None:
    terminal = a_terminal(monkeypatch)
    assert report(error) == error.exit_code
    assert "before" in terminal.getvalue()
    assert not {"\x1b", "\x9b", "\x07"} & set(terminal.getvalue())


SAYS = "from promptmill.cli.terminal import *; take_over(); say({text!a}); say({text!a}, err=True)"


@pytest.mark.parametrize(
    ("encoding", "text", "bytes_"),
    [
        ("ascii", "─── caf\u00e9 … → 日", b"--- caf? ... -> ?\n"),
        ("latin-1", "“caf\u00e9” \u2013 日", b'"caf\xe9" - ?\n'),
        ("utf-8", "日 \ud83d", "日 \ufffd\n".encode()),
        ("utf-8", "name \udcff", b"name \xff\n"),  # of a file
    ],
)
def test_what_an_output_cannot_show_becomes_what_it_can(encoding: str, text: str, bytes_: bytes) -> None:
    assert python(SAYS.format(text=text), PYTHONIOENCODING=encoding) == (0, bytes_, bytes_)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_json_is_whole_whatever_the_output_can_show(encoding: str) -> None:
    code = "from promptmill.cli.printing import *; print_json({'日': '😀 caf\\u00e9 \\u2013'})"
    status, out, _ = python(code, PYTHONIOENCODING=encoding)
    assert (status, json.loads(out.decode(encoding))) == (0, {"日": "😀 caf\u00e9 \u2013"})


def test_scripts_are_read_in_any_locale() -> None:
    code = """
from client.redis.texts import _read
from importlib.resources import files
for room in ("client", "client.limits", "worker.engine"):
    for file in files(room).joinpath("lua").iterdir():
        _read(room, file.name.removesuffix(".lua"))
print("read")
"""
    assert python(code, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") == (0, b"read\n", b"")


def test_a_prompt_on_standard_input_is_utf_8_or_of_the_locale() -> None:
    read: list[str] = []

    @click.command()
    def command() -> None:
        read.append(read_prompt())

    for data in ("caf\u00e9".encode(), b"\xef\xbb\xbfhi", b"\xe9"):
        assert CliRunner().invoke(command, input=data).exit_code == 0
    assert read == ["caf\u00e9", "hi", "\ufffd"]
