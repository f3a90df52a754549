"""What an open stack is to the one who opened it, and what is raised where there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from client.words import counted
from settings import Settings


class StackError(Exception):
    """A server, worker or simulator cannot be had; `str(error)` is one sentence that says what to do next."""


@dataclass(frozen=True)
class Stack:
    """A server to enqueue to, and what else of the stack there is.

    `settings` are those given, with `redis_url` filled in, and with every provider replaced by the
    simulator where we started one.
    """

    redis_url: str = field(repr=False)  # it may hold a password
    settings: Settings = field(repr=False)
    kind: Literal["given", "attached", "private"]
    worker: bool = False  # one of ours serves it; a given server may have others
    simulate: bool = False
    data_dir: Path | None = None  # None where the server is not ours

    def describe(self) -> str:
        """One line for a person, without a secret."""
        if self.kind == "given":
            return "the server that REDIS_URL names"
        words = ["the stack of `promptmill up`" if self.kind == "attached" else "a private server"]
        if self.worker:
            words.append(f"a worker for {counted(self.settings.max_jobs, 'call')} at once")
        if self.simulate:
            words.append("a simulated provider")
        return f"{', '.join(words)}; data in {self.data_dir}"
