"""What a run comes to: for people, for programs, and as an exit status."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .plan import Plan
from .tally import Tally

INTERRUPTED = 130  # the exit status a shell gives to Ctrl-C


@dataclass(frozen=True)
class RunSummary:
    """One run. `problem` is the sentence that ended it early; `is_interrupted` says that a signal did."""

    total: int
    done: int
    failed: int
    skipped: int  # answered by an earlier run
    failed_before: int  # failed in an earlier run, and not tried again
    invalid: int
    in_flight: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    wall_s: float
    requests_per_min: float | None
    output: Path
    errors: Path
    is_interrupted: bool = False
    problem: str | None = None
    not_sent: int = 0  # left over where it ended early, with those refused or taken back as it stopped
    empty: int = 0  # answers without a word, those of earlier runs among them, as below
    cut_off: int = 0  # by the limit of tokens
    filtered: int = 0

    @property
    def exit_code(self) -> int:
        """0: every line has its answer. 1: some have not. 130: stopped by a signal."""
        if self.is_interrupted:
            return INTERRUPTED
        return 1 if self.problem or self.failed or self.failed_before or self.invalid else 0

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: what is unknown is null."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return fields | {"output": str(self.output), "errors": str(self.errors), "exit_code": self.exit_code}

    def lines(self) -> list[str]:
        """For people."""
        counts = f"{self.done:,} done, {self.failed:,} failed, {self.skipped:,} already finished"
        if self.failed_before:
            counts += f", {self.failed_before:,} failed before (try them again with --retry-errors)"
        if self.invalid:
            counts += f", {self.invalid:,} invalid and left out"
        if self.not_sent:
            counts += f", {self.not_sent:,} not sent"
        lines = [f"{counts}.", *self._short()]
        if self.done or self.failed:
            lines.append(f"{self._tokens()} · {self._cost()} · {self._pace()}")
        if self.done or self.skipped:
            lines.append(f"Answers: {self.output}")
        if self.failed or self.failed_before:
            lines.append(f"Errors:  {self.errors}")
        if self.problem:
            lines.append(self.problem)
        if self.is_interrupted:
            lines.append(
                f"Stopped: {self.done:,} done, {self.failed:,} failed, {self.in_flight:,} in flight. "
                "Run the same command again to resume."
            )
        return lines

    def _short(self) -> list[str]:
        """Answers that came, and are none, or not whole: they are done, and yet not what was asked for."""
        counts = {
            "empty": self.empty,
            "cut off at the limit of tokens": self.cut_off,
            "filtered": self.filtered,
        }
        named = [f"{count:,} {what}" for what, count in counts.items() if count]
        return [f"Of the answers, {', '.join(named)} (ask again with --retry-empty)."] if named else []

    def _tokens(self) -> str:
        if self.input_tokens is None:
            return "tokens unknown"
        return f"{self.input_tokens:,} tokens in, {self.output_tokens:,} out"

    def _cost(self) -> str:
        return "cost unknown" if self.cost_usd is None else f"${self.cost_usd:,.4f}"

    def _pace(self) -> str:
        rate = "" if self.requests_per_min is None else f", {self.requests_per_min:,.0f} requests/min"
        return f"{self.wall_s:,.1f} s{rate}"


def summarise(
    plan: Plan, tally: Tally, *, is_interrupted: bool = False, problem: str | None = None
) -> RunSummary:
    """The sums. A cost or token count with an unknown part is unknown."""
    report = plan.report
    metered, short = tally.unmetered == 0, report.short + tally.short
    return RunSummary(
        total=report.total,
        done=tally.done,
        failed=tally.failed,
        skipped=report.finished_before,
        failed_before=report.failed_before,
        invalid=report.invalid,
        empty=short["empty"],
        cut_off=short["cut_off"],
        filtered=short["filtered"],
        in_flight=tally.in_flight,
        not_sent=max(0, report.pending - tally.finished - tally.in_flight),
        input_tokens=tally.input_tokens if metered else None,
        output_tokens=tally.output_tokens if metered else None,
        cost_usd=None if tally.unpriced else round(tally.cost_usd, 6),
        wall_s=round(tally.wall_s, 3),
        requests_per_min=tally.requests_per_min,
        output=plan.options.output,
        errors=plan.options.errors_path,
        is_interrupted=is_interrupted,
        problem=problem,
    )
