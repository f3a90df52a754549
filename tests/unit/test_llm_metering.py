"""What a call's end says about what it used."""

from __future__ import annotations

import pytest

from client import errors
from client.wire.schemas import Usage
from worker.context import Meter
from worker.jobs.call import meter_answer, meter_failure


def failed(error: errors.JobError) -> Meter:
    meter = Meter(called=True)
    meter_failure(meter, error)
    return meter


def test_an_answer_tells_its_tokens_and_its_cost() -> None:
    meter = Meter(called=True)
    meter_answer(meter, Usage(input_tokens=9, output_tokens=2), 0.5)
    assert meter == Meter(called=True, answered=True, tokens=11, output_tokens=2, usd=0.5)


@pytest.mark.parametrize("usage", [Usage(), Usage(input_tokens=9), Usage(output_tokens=2)])
def test_tokens_that_are_not_told_stay_unknown(usage: Usage) -> None:
    meter = Meter(called=True)
    meter_answer(meter, usage, None)
    assert (meter.tokens, meter.usd, meter.answered) == (None, None, True)


@pytest.mark.parametrize(
    "error",
    [
        errors.RateLimited("x", status=429, retry_after_s=2.0),
        errors.Overloaded("x", status=503, retry_after_s=2.0),
        errors.Overloaded("x", status=500, retry_after_s=2.0),
    ],
)
def test_want_of_room_is_a_refusal_that_used_nothing(error: errors.JobError) -> None:
    overloaded = isinstance(error, errors.Overloaded)
    assert failed(error) == Meter(
        called=True, refused=True, overloaded=overloaded, refused_s=2.0, tokens=0, usd=0.0
    )


@pytest.mark.parametrize(
    ("error", "answered"),
    [
        (errors.QuotaExhausted("x", status=429), True),
        (errors.BadRequest("x", status=400), True),
        (errors.AuthenticationFailed("x", status=401), True),
        (errors.TransientProviderError("x", status=409), True),
        (errors.PermanentProviderError("x", status=302), False),
        (errors.ServerError("x", status=500), False),
        (errors.ServerError("x", status=502), False),
    ],
)
def test_any_other_refusal_used_nothing_and_is_no_congestion(error: errors.JobError, answered: bool) -> None:
    assert failed(error) == Meter(called=True, answered=answered, tokens=0, usd=0.0)


@pytest.mark.parametrize(
    "error",
    [
        errors.ProviderTimeout("x"),
        errors.ProviderUnreachable("x"),
        errors.MalformedResponse("x"),
        errors.MalformedResponse("x", final=True),
        errors.ProviderTimeout("x", status=408),
        errors.ServerError("x", status=504),
        errors.ServerError("x", status=524),
    ],
)
def test_after_a_timeout_or_a_cut_connection_nobody_knows_what_was_used(error: errors.JobError) -> None:
    assert failed(error) == Meter(called=True)


@pytest.mark.parametrize(
    "error",
    [
        errors.ProviderUnreachable("x", sent=False),
        errors.ProviderTimeout("x", sent=False),
        errors.ProviderNotConfigured("x", sent=False),
        errors.BadRequest("the provider has no way to say it"),
    ],
)
def test_what_never_went_out_was_no_call(error: errors.JobError) -> None:
    meter = failed(error)
    assert meter == Meter()
    assert (meter.unreached_s is not None) == error.retryable  # another moment may cure it
