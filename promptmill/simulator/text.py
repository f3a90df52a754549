"""Prompts and answers as text, and their length in tokens."""

from dataclasses import dataclass
from typing import Any

CHARS_PER_TOKEN = 4
ECHOED_CHARS = 200  # how much of the last user message an answer repeats
STAMP = "#now"  # a token that stands for the time of its sending: milliseconds, the last 4 digits
FILLER = (
    "The simulator goes on in plain words, one after the other, "
    "so that the answer has the length it was asked to have. "
)


@dataclass(frozen=True, slots=True)
class CannedAnswer:
    """An answer's text and length; `is_cut` when the caller's token limit ended it. Where it is a call of the
    tool `call_name`, the text is the call's arguments as JSON."""

    text: str
    tokens: int
    is_cut: bool
    call_name: str | None = None

    def pieces(self) -> list[str]:
        """The text, one token a piece."""
        step = CHARS_PER_TOKEN
        return [self.text[start : start + step] for start in range(0, len(self.text), step)]


def count_tokens(chars: int) -> int:
    """Tokens in this many characters, rounded up; never less than 1."""
    return max(1, -(-chars // CHARS_PER_TOKEN))


def answer_to(prompt: str, *, fill_tokens: int, max_tokens: int | None) -> CannedAnswer:
    """The same answer to the same prompt, always: its echo, then filler up to `fill_tokens`.

    The echo is whole even where it is longer than that; only `max_tokens` cuts it."""
    text = f"Simulated answer to: {prompt[:ECHOED_CHARS]}"
    missing_chars = fill_tokens * CHARS_PER_TOKEN - len(text)
    if missing_chars > 0:
        repeats = missing_chars // len(FILLER) + 1
        text += (". " + FILLER * repeats)[:missing_chars]
    is_cut = max_tokens is not None and count_tokens(len(text)) > max_tokens
    if is_cut and max_tokens is not None:
        text = text[: max_tokens * CHARS_PER_TOKEN]
    return CannedAnswer(text, count_tokens(len(text)), is_cut)


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts of which some are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def read_messages(messages: list[dict[str, Any]]) -> tuple[int, str]:
    """(characters in all messages, text of the last user message)."""
    chars = 0
    last_user = ""
    for message in messages:
        text = content_text(message.get("content"))
        chars += len(text)
        if message.get("role") == "user":
            last_user = text
    return chars, last_user
