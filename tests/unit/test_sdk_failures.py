"""What SDKs raise → our errors, and what follows for the job that lets them escape."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from arq import Retry
from arq.worker import func

from client import errors
from tests.unit.given_llm import ScriptedLLM, a_context
from worker.jobs import user_job
from worker.jobs.sdk_failures import worth_a_try


class APIConnectionError(Exception): ...


class APITimeoutError(APIConnectionError): ...


class RateLimitError(Exception):
    """As openai's and anthropic's APIStatusError are made."""

    def __init__(self, status: int, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"Error code: {status}")
        self.status_code = status
        self.response = httpx.Response(status, content=body, headers=headers)


NO_MONEY = b'{"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}'
FULL = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RateLimitError(429), errors.RateLimited),
        (RateLimitError(503), errors.Overloaded),
        (RateLimitError(500), errors.ServerError),
        (RateLimitError(500, FULL), errors.Overloaded),
        (RateLimitError(408), errors.ProviderTimeout),
        (RateLimitError(409), errors.TransientProviderError),
        (APITimeoutError(), errors.ProviderTimeout),
        (APIConnectionError(), errors.ProviderUnreachable),
        (httpx.ReadTimeout("late"), errors.ProviderTimeout),
        (httpx.ConnectError("refused"), errors.ProviderUnreachable),
        (errors.ServerError("x"), errors.ServerError),
        (ExceptionGroup("", [RateLimitError(500), RateLimitError(429)]), errors.ServerError),
    ],
)
def test_what_passes_is_worth_another_try(error: Exception, kind: type[errors.JobError]) -> None:
    assert type(worth_a_try(error)) is kind


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError(429, NO_MONEY),
        RateLimitError(401),
        RateLimitError(400),
        RateLimitError(302),
        httpx.UnsupportedProtocol("ftp"),
        errors.BadRequest("x"),
        errors.SlotTimeout("x"),
        TimeoutError(),
        ValueError(),
        Retry(),
        ExceptionGroup("", [RateLimitError(429), ValueError()]),
    ],
)
def test_what_would_fail_again_is_not(error: Exception) -> None:
    assert worth_a_try(error) is None


def test_what_the_provider_said_is_kept_and_no_secret() -> None:
    found = worth_a_try(RateLimitError(429, headers={"retry-after": "7", "request-id": "r1"}))
    assert isinstance(found, errors.ProviderError)
    assert (found.status, found.retry_after_s, found.request_id) == (429, 7, "r1")
    assert str(found) == "RateLimitError: Error code: 429"
    assert "sk-proj" not in str(worth_a_try(APIConnectionError("key sk-proj-A1b2C3d4E5f6G7h8")))


def test_a_response_that_was_not_read_is_judged_by_its_status() -> None:
    error = RateLimitError(429)
    error.response = httpx.Response(429, stream=httpx.ByteStream(b""))
    assert type(worth_a_try(error)) is errors.RateLimited


async def ended(error: Exception, *, job_try: int = 1, max_tries: int | None = None) -> Any:
    """What a job that raises `error` ends in."""

    async def job(ctx: Any) -> None:
        raise error

    function = user_job(func(job, max_tries=max_tries), 5)
    try:
        limits = SimpleNamespace(under=lambda held: None)
        return await function.coroutine(a_context(ScriptedLLM(), limits=limits, job_try=job_try))
    except Exception as raised:
        return raised


async def test_the_job_waits_as_long_as_it_was_asked_to_and_a_little_more() -> None:
    retry = await ended(RateLimitError(429, headers={"retry-after": "7"}), job_try=2)
    assert isinstance(retry, Retry)
    assert 7_000 <= (retry.defer_score or 0) <= 9_000  # ms; the second try's jitter lies below 2 s


@pytest.mark.parametrize(("job_try", "max_tries"), [(5, None), (2, 2)])
async def test_the_last_try_ends_in_the_typed_error(job_try: int, max_tries: int | None) -> None:
    error = await ended(RateLimitError(429), job_try=job_try, max_tries=max_tries)
    assert isinstance(error, errors.RateLimited)
    assert error.details["error_type"] == "RateLimitError"


@pytest.mark.parametrize(
    "error",
    [errors.QueueUnavailable("away"), errors.SlotLost("lost"), ExceptionGroup("", [errors.SlotLost("x")])],
)
async def test_a_redis_that_was_away_and_a_lost_slot_are_worth_another_try(error: Exception) -> None:
    assert isinstance(await ended(error), Retry)
    assert isinstance(await ended(error, job_try=5), errors.QueueUnavailable | errors.SlotLost)


@pytest.mark.parametrize("error", [ValueError("x"), RateLimitError(401), errors.BadRequest("x"), Retry(3)])
async def test_every_other_error_is_the_jobs_own(error: Exception) -> None:
    assert await ended(error) is error


async def test_the_typed_error_of_a_task_group_is_the_jobs() -> None:
    cause = errors.AuthenticationFailed("the key is wrong")
    assert await ended(ExceptionGroup("", [cause])) is cause
