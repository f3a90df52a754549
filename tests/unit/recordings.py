"""What providers really answer, one exchange a file: tests/fixtures/providers/NAME/CASE.http.

The bodies' shapes are those of the providers' documentation and of public bug reports. KEY_SENT stands for
the key, where a provider repeats it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import httpx

from promptmill.dialects import Provider, Route
from promptmill.dialects.anthropic import Anthropic
from promptmill.dialects.gemini import Gemini
from promptmill.dialects.openai import OpenAI

FOLDER = Path(__file__).parents[1] / "fixtures" / "providers"
KEY = "key-Zx81kkQqLm9"
PROVIDERS: dict[str, Provider] = {
    "openai": OpenAI("openai", "https://api.openai.com/v1", KEY, "OPENAI_API_KEY"),
    "anthropic": Anthropic("anthropic", "https://api.anthropic.com/v1", KEY, "ANTHROPIC_API_KEY"),
    "gemini": Gemini("gemini", "https://generativelanguage.googleapis.com/v1beta", KEY, "GEMINI_API_KEY"),
}


class Recorded(NamedTuple):
    status: int
    headers: httpx.Headers
    body: bytes


def cases(provider: str, prefix: str = "") -> list[str]:
    """The names of the provider's recordings that begin like this."""
    return sorted(path.stem for path in (FOLDER / provider).glob(f"{prefix}*.http"))


def recorded(provider: str, case: str) -> Recorded:
    head, _, body = (FOLDER / provider / f"{case}.http").read_bytes().partition(b"\n\n")
    status, *lines = head.decode().splitlines()
    headers = httpx.Headers([(name, text) for name, text in (line.split(": ", 1) for line in lines)])
    return Recorded(int(status.split()[1]), headers, body.replace(b"KEY_SENT", KEY.encode()))


def route(provider: str) -> Route:
    return Route(PROVIDERS[provider], "m")
