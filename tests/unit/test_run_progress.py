"""The numbers that a person sees while a run goes on."""

from __future__ import annotations

import pytest

from promptmill.cli.run.progress import describe
from promptmill.cli.run.tally import Tally


@pytest.mark.parametrize(
    ("done", "failed", "has_pace"),
    [(0, 1, False), (0, 50, False), (1, 0, False), (1, 1, True), (40, 2, True)],
)
def test_a_pace_is_told_only_of_what_was_answered(done: int, failed: int, has_pace: bool) -> None:
    tally = Tally(pending_at_start=100, first_call_s=0.0, last_answer_s=2.0)
    tally.sample(0.0)
    tally.done, tally.failed = done, failed
    tally.sample(2.0)
    assert (tally.requests_per_min is not None) == has_pace
    assert ("/min" in describe(tally), "to go" in describe(tally)) == (has_pace, has_pace)


def test_one_token_is_no_plural() -> None:
    assert "1 token ·" in describe(Tally(pending_at_start=1, done=1, output_tokens=1))
