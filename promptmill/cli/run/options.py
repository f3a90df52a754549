"""What one run is asked to do, and the two ways in which asking can go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from settings import Settings

FileFormat = Literal["auto", "jsonl", "text", "csv"]

STDIN = "-"
MIN_WINDOW, MAX_WINDOW = 500, 10_000  # jobs: bounds of the default window
WINDOW_PER_WORKER = 4  # windows of MAX_JOBS that keep a worker busy while answers are written


class InputError(Exception):
    """The options or the input cannot be used; one sentence. Nothing has been sent. Exit status 2."""


class OutputError(Exception):
    """An answer could not be written; one sentence. What was written stays. Exit status 1."""


@dataclass(frozen=True)
class Defaults:
    """What is filled in where a line does not say it. `model` None leaves the choice to the worker."""

    model: str | None = None
    embed_model: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class RunOptions:
    """One run. `input` is a path or "-" for standard input; `errors` None means next to `output`."""

    input: str
    output: Path = Path("answers.jsonl")
    errors: Path | None = None
    format: FileFormat = "auto"
    template: str | None = None
    defaults: Defaults = field(default_factory=Defaults)
    skip_invalid: bool = False
    retry_errors: bool = False
    retry_empty: bool = False  # ask again for answers that are empty, cut off or filtered
    window: int | None = None
    limits: tuple[str, ...] = ()  # limit keys of all its jobs, besides their models'
    check_providers: bool = True  # False with a fleet, which has providers of its own
    keys_needed: bool = True  # False where the provider is simulated

    @property
    def errors_path(self) -> Path:
        """answers.jsonl → answers.errors.jsonl."""
        return self.errors or self.output.with_suffix(".errors.jsonl")

    @property
    def sidecar_path(self) -> Path:
        """answers.jsonl → answers.jsonl.run."""
        return self.output.with_name(self.output.name + ".run")

    def window_jobs(self, settings: Settings) -> int:
        """How many jobs may be enqueued and unanswered at once."""
        if self.window is not None:
            return self.window
        return min(MAX_WINDOW, max(MIN_WINDOW, WINDOW_PER_WORKER * settings.max_jobs))
