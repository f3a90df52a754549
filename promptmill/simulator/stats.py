"""What really happened, counted where it happens: the truth that tests rely on."""

import time
from collections import Counter
from typing import Any

MAX_REQUEST_IDS = 200_000  # remembered client request ids; beyond it the oldest is forgotten


class RequestStats:
    """Counts since the start or the last reset. Calls are the POSTs under `/v1` and `/v1beta`.

    requests     calls that arrived, whatever became of them
    open         calls let in and being served now; `peak_open` is the most there were at once
    completed    calls answered to the end with 200
    cancelled    calls whose client hung up before the end
    by_status    status lines sent; a hang, a reset or an early hang-up has none
    refused_429  calls refused by a cap or for want of quota
    faults       injected faults by kind, and `down`
    tokens       input and output tokens of the completed calls
    calls_per_request_id    arrivals by the client's `x-client-request-id`
    answers_per_request_id  completions by the same, so an answer paid for twice shows as 2
    """

    def __init__(self) -> None:
        self._started_at_s = time.monotonic()
        self.open = 0
        self.reset()

    def reset(self) -> None:
        """Start all counts anew. Calls being served stay open and are the new peak."""
        self.requests = self.completed = self.cancelled = self.refused_429 = 0
        self.input_tokens = self.output_tokens = 0
        self.peak_open = self.open
        self.by_status: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.first_request_at_s: float | None = None
        self.last_answer_at_s: float | None = None
        self._calls: dict[str, int] = {}
        self._answers: dict[str, int] = {}

    def arrive(self, client_request_id: str | None) -> None:
        self.requests += 1
        if self.first_request_at_s is None:
            self.first_request_at_s = time.time()
        _count(self._calls, client_request_id)

    def open_one(self) -> None:
        self.open += 1
        self.peak_open = max(self.peak_open, self.open)

    def close_one(self) -> None:
        self.open -= 1

    def answer(self, status: int) -> None:
        """A status line goes out."""
        self.by_status[status] += 1
        self.last_answer_at_s = time.time()

    def complete(self, client_request_id: str | None, input_tokens: int, output_tokens: int) -> None:
        self.completed += 1
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.last_answer_at_s = time.time()
        _count(self._answers, client_request_id)

    def snapshot(self, *, with_ids: bool = True) -> dict[str, Any]:
        """All counts, ready for JSON; times are Unix seconds."""
        ids = {
            "calls_per_request_id": self._calls,
            "answers_per_request_id": self._answers,
        }
        return {
            "requests": self.requests,
            "open": self.open,
            "peak_open": self.peak_open,
            "completed": self.completed,
            "cancelled": self.cancelled,
            "refused_429": self.refused_429,
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "faults": dict(self.faults),
            "tokens": {"input": self.input_tokens, "output": self.output_tokens},
            "uptime_s": time.monotonic() - self._started_at_s,
            "first_request_at_s": self.first_request_at_s,
            "last_answer_at_s": self.last_answer_at_s,
            **(ids if with_ids else {}),
        }


def _count(counts: dict[str, int], key: str | None) -> None:
    if key is None:
        return
    counts[key] = counts.get(key, 0) + 1
    if len(counts) > MAX_REQUEST_IDS:
        del counts[next(iter(counts))]
