"""What a run has done so far, in numbers that a reader of the progress wants."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from client.wire.schemas import Completion, Embeddings, Shortfall

RATE_SPAN_S = 60.0  # the rate and the ETA look back this far


@dataclass
class Tally:
    """Counts of this run. Costs and tokens that a provider did not tell are counted as unknown."""

    pending_at_start: int
    done: int = 0
    failed: int = 0
    in_flight: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0  # answers whose cost is unknown
    short: Counter[Shortfall] = field(default_factory=Counter)  # answers that lack something
    unmetered: int = 0  # answers whose tokens are unknown
    first_call_s: float | None = None  # on the run's clock
    last_answer_s: float | None = None
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def finished(self) -> int:
        return self.done + self.failed

    @property
    def wall_s(self) -> float:
        """From the first call to the last answer; 0 where there was none."""
        if self.first_call_s is None or self.last_answer_s is None:
            return 0.0
        return self.last_answer_s - self.first_call_s

    @property
    def requests_per_min(self) -> float | None:
        """Over the whole run; None where it would tell nothing: no answer, or a single one."""
        return 60 * self.finished / self.wall_s if self._has_pace and self.wall_s > 0 else None

    @property
    def _has_pace(self) -> bool:
        return self.done > 0 and self.finished > 1

    def count(self, answer: Completion | Embeddings) -> None:
        """One more answer."""
        self.done += 1
        if isinstance(answer, Completion) and answer.shortfall:
            self.short[answer.shortfall] += 1
        usage = answer.usage
        if usage.input_tokens is None:
            self.unmetered += 1
        self.input_tokens += usage.input_tokens or 0
        self.output_tokens += usage.output_tokens or 0
        if answer.cost_usd is None:
            self.unpriced += 1
        self.cost_usd += answer.cost_usd or 0.0

    def sample(self, now_s: float) -> None:
        """Remembers how far the run is, for the rate of the last minute."""
        self._samples.append((now_s, self.finished))
        while len(self._samples) > 2 and now_s - self._samples[1][0] > RATE_SPAN_S:
            self._samples.popleft()

    def recent_per_min(self) -> float | None:
        """Requests finished per minute of late, or None where it is too early to say."""
        if len(self._samples) < 2 or not self._has_pace:
            return None
        (then_s, before), (now_s, finished) = self._samples[0], self._samples[-1]
        return 60 * (finished - before) / (now_s - then_s) if now_s > then_s else None

    def eta_s(self) -> float | None:
        """Seconds to go at the rate of late, or None where it is too early to say."""
        rate = self.recent_per_min()
        left = self.pending_at_start - self.finished
        return 60 * left / rate if rate else None
