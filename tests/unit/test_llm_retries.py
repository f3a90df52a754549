"""Retry or fail, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from client import errors
from client.wire.schemas import Attempt
from worker.jobs.retries import Again, NextModel, TurnedAway, backoff_s, count_tries, decide, uses_a_try


def decided(
    error: errors.JobError,
    tries_used: int = 0,
    max_tries: int = 5,
    attempts: int = 1,
    roll: float = 0.5,
    **more: Any,
) -> Again | NextModel | None:
    return decide(error, tries_used=tries_used, max_tries=max_tries, attempts=attempts, roll=roll, **more)


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    assert [backoff_s(n, 1.0) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff_s(100_000, 1.0) == 60
    assert backoff_s(5, 0.0) == 0


@pytest.mark.parametrize(
    "error", [errors.BadRequest("x"), errors.ProviderNotConfigured("x"), errors.JobFailed("x")]
)
def test_a_permanent_error_fails_at_once(error: errors.JobError) -> None:
    assert decided(error) is None


@pytest.mark.parametrize("kind", [errors.ProviderTimeout, errors.ServerError, errors.MalformedResponse])
def test_a_transient_error_uses_a_try_until_none_is_left(kind: type[errors.JobError]) -> None:
    assert decided(kind("x"), tries_used=3) == Again(4, uses_a_try=True)
    assert decided(kind("x"), tries_used=4) is None
    assert decided(kind("x"), max_tries=1) is None


def test_what_would_come_again_is_not_asked_for_again_but_another_model_may_help() -> None:
    final = errors.MalformedResponse("x", final=True)
    assert decided(final) is None
    assert decided(final, fallbacks=1) == NextModel()
    again = errors.from_wire(final.to_wire())
    assert not again.retryable


@pytest.mark.parametrize("kind", [errors.RateLimited, errors.Overloaded])
def test_being_turned_away_uses_no_try_and_never_fails(kind: type[errors.JobError]) -> None:
    assert decided(kind("x"), tries_used=99, attempts=1000) == Again(30, uses_a_try=False)


@pytest.mark.parametrize("kind", [errors.RateLimited, errors.Overloaded])
def test_a_job_that_its_models_limit_admitted_leaves_the_waiting_to_that_limit(
    kind: type[errors.JobError],
) -> None:
    again = decided(kind("x", retry_after_s=20), tries_used=99, attempts=9, admitted=True)
    assert again == Again(0.0, uses_a_try=False)


@pytest.mark.parametrize("kind", [errors.RateLimited, errors.Overloaded])
def test_with_fallbacks_it_is_turned_away_no_longer_than_its_patience(kind: type[errors.JobError]) -> None:
    again = Again(0.0, uses_a_try=False)
    waited = [TurnedAway(waited_s, most_s=10) for waited_s in (0, 8, 10)]
    assert [decided(kind("x"), admitted=True, fallbacks=1, waiting=w) for w in waited] == [
        again,
        again,
        NextModel(),
    ]
    asked = kind("x", retry_after_s=3)
    assert [decided(asked, admitted=True, fallbacks=1, waiting=w) for w in waited] == [
        again,
        *[NextModel()] * 2,
    ]
    assert decided(kind("x", retry_after_s=20), admitted=True, fallbacks=1) == NextModel()


@pytest.mark.parametrize("kind", [errors.ProviderTimeout, errors.ServerError, errors.MalformedResponse])
def test_when_no_try_is_left_the_next_model_is_asked(kind: type[errors.JobError]) -> None:
    assert decided(kind("x"), tries_used=3, fallbacks=1) == Again(4, uses_a_try=True)
    assert decided(kind("x"), tries_used=4, fallbacks=1) == NextModel()


@pytest.mark.parametrize(
    "kind",
    [
        errors.ProviderNotConfigured,
        errors.AuthenticationFailed,
        errors.PermissionRefused,
        errors.QuotaExhausted,
        errors.ModelNotFound,
        errors.ContextTooLong,
        errors.ContentFiltered,
    ],
)
def test_another_model_may_help_where_this_one_never_will(kind: type[errors.JobError]) -> None:
    assert decided(kind("x"), fallbacks=1) == NextModel()
    assert decided(kind("x")) is None


@pytest.mark.parametrize("kind", [errors.BadRequest, errors.PermanentProviderError, errors.JobFailed])
def test_no_model_helps_a_request_that_is_wrong(kind: type[errors.JobError]) -> None:
    assert decided(kind("x"), fallbacks=8) is None


def test_a_job_that_is_late_leaves_its_tries_to_the_next_model() -> None:
    late = TurnedAway(is_late=True)
    assert decided(errors.ProviderTimeout("x"), fallbacks=1, waiting=late) == NextModel()
    assert decided(errors.ProviderTimeout("x"), waiting=late) == Again(0.5, uses_a_try=True)


def test_another_model_may_take_what_this_one_cannot_be_asked_or_refuses_as_it_was_translated() -> None:
    unsaid = errors.BadRequest("x", sent=False)
    assert decided(unsaid, fallbacks=1) == NextModel()
    assert decided(unsaid) is None
    assert decided(errors.BadRequest("x", status=400), fallbacks=1, translated=True) == NextModel()
    assert decided(errors.BadRequest("x", status=400), translated=True) is None


def test_the_provider_sets_the_least_wait_and_jitter_comes_on_top() -> None:
    assert decided(errors.RateLimited("x", retry_after_s=20), roll=0.0) == Again(20, uses_a_try=False)
    server_error = errors.ServerError("x", retry_after_s=20)
    assert decided(server_error, tries_used=2, roll=0.5) == Again(22, uses_a_try=True)


@pytest.mark.parametrize("kind", [errors.ServerError, errors.ProviderUnreachable, errors.ProviderTimeout])
def test_attempts_that_used_no_try_make_no_later_wait_longer(kind: type[errors.JobError]) -> None:
    waits = [decided(kind("x"), tries_used=used, attempts=40 + used, roll=1.0) for used in range(4)]
    assert waits == [Again(seconds, uses_a_try=True) for seconds in (1, 2, 4, 8)]


def test_the_ledger_tells_which_attempts_used_a_try() -> None:
    assert [uses_a_try(name) for name in (None, "RateLimited", "Overloaded", "ServerError")] == [
        False, False, False, True,
    ]  # fmt: skip


def attempts(*rows: tuple[float, str, bool]) -> list[Attempt]:
    """Each by when it began, its error, and whether it was sent."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    return [
        Attempt(
            number=number,
            model="a/m",
            started_at=noon + timedelta(seconds=at_s),
            duration_s=0.5,
            error=error,
            sent=sent,
        )
        for number, (at_s, error, sent) in enumerate(rows, 1)
    ]


AWAY, HUNG = "ProviderUnreachable", "ProviderTimeout"


@pytest.mark.parametrize(
    ("rows", "used"),
    [
        ([], 0),
        ([(0, AWAY, False), (4, HUNG, False), (8, AWAY, False)], 0),  # never sent
        ([(0, AWAY, True), (4, HUNG, True)], 2),  # cut off, and not answered: they may have been paid for
        ([(0, AWAY, False), (9, AWAY, False), (10, AWAY, False), (60, HUNG, False)], 2),  # for 10 s and no longer
        ([(9.6, AWAY, False), (19.2, AWAY, False)], 1),  # of the attempt's end
        ([(0, AWAY, False), (9, "ServerError", True), (18, AWAY, False), (27, AWAY, False)], 1),  # each row has 10 s
        ([(0, AWAY, False), (9, "Overloaded", True), (18, AWAY, False)], 0),
        ([(0, "JobCrashed", True), (1, "CancelledError", True), (2, "RateLimited", True)], 0),
        ([(0, "SlotTimeout", False), (50, "BadRequest", False)], 2),
    ],
)  # fmt: skip
def test_what_was_never_sent_uses_no_try_for_a_bounded_time(
    rows: list[tuple[float, str, bool]], used: int
) -> None:
    assert count_tries(attempts(*rows), unreachable_s=10) == used


def test_without_patience_what_was_never_sent_uses_a_try_at_once() -> None:
    assert count_tries(attempts((0, AWAY, False), (1, AWAY, False)), unreachable_s=0) == 2


@pytest.mark.parametrize("kind", [errors.ProviderUnreachable, errors.ProviderTimeout])
def test_what_was_never_sent_waits_as_what_was_turned_away(kind: type[errors.JobError]) -> None:
    error = kind("x", sent=False)
    assert decided(error, tries_used=99, is_free=True, admitted=True) == Again(0.0, uses_a_try=False)
    tired = TurnedAway(15, most_s=15)
    assert decided(error, is_free=True, fallbacks=1, waiting=tired) == NextModel()
    assert decided(error, tries_used=4) is None
