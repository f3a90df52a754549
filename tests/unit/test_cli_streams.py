"""What `promptmill ask` prints while an answer is written."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from client import ResultTimeout, StreamEvent
from promptmill.cli.main import promptmill
from promptmill.cli.printing import print_stream


class Job:
    """Tells these words: a text, or the kind of an event; `…` is silence without end."""

    id = "j1"

    def __init__(self, text: str, *words: str) -> None:
        self.text, self.words = text, words

    async def stream(self) -> Any:
        for word in self.words:
            if word == "…":
                await asyncio.Event().wait()
            kinds = {"reset", "truncated", "done"}
            yield StreamEvent("1-1", word) if word in kinds else StreamEvent("1-1", "delta", word)  # type: ignore[arg-type]

    async def result(self) -> Any:
        return SimpleNamespace(text=self.text)


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["Hel", "lo", "done"], "Hello\n"),
        (["Hx", "reset", "Hello", "done"], "Hx\nHello\n"),
        (["Hel", "truncated", "done"], "Hello\n"),
    ],
)
async def test_the_whole_answer_is_on_the_screen(
    words: list[str], out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await print_stream(Job("Hello", *words), None)  # type: ignore[arg-type]
    assert capsys.readouterr().out == out


async def test_it_is_not_waited_for_longer_than_told() -> None:
    with pytest.raises(ResultTimeout, match=r"j1 has not finished within 0\.01 s"):
        await print_stream(Job("", "Hel", "…"), 0.01)  # type: ignore[arg-type]


def test_a_stream_is_not_json() -> None:
    result = CliRunner().invoke(promptmill, ["ask", "Hi", "--stream", "--json"])
    assert result.exit_code == 2
    assert "leave one out" in result.stderr
