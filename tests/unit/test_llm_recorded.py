"""Every recorded refusal → its typed error, whether to try again, a next step, and nothing secret."""

from __future__ import annotations

import json
import re

import pytest

from client import errors
from promptmill.dialects.retry_after import DAILY_WAIT_S
from tests.unit.recordings import KEY, PROVIDERS, cases, recorded

# The class and, where one is told, the wait in seconds.
OPENAI = {
    "400_parameter": errors.BadRequest,
    "400_context_length": errors.ContextTooLong,
    "400_vllm_context_length": errors.ContextTooLong,
    "400_azure_content_filter": errors.ContentFiltered,
    "400_litellm_model": errors.ModelNotFound,
    "400_litellm_safety": errors.ContentFiltered,
    "400_litellm_wrong_key": errors.AuthenticationFailed,
    "401_wrong_key": errors.AuthenticationFailed,
    "402_insufficient_balance": errors.QuotaExhausted,
    "403_country": errors.PermissionRefused,
    "403_openrouter_moderation": errors.ContentFiltered,
    "404_model": errors.ModelNotFound,
    "404_ollama_model": errors.ModelNotFound,
    "408_timeout": errors.ProviderTimeout,
    "413_groq_too_large": errors.ContextTooLong,
    "413_nginx": errors.ContextTooLong,
    "422_fastapi": errors.BadRequest,
    "422_mistral": errors.BadRequest,
    "429_insufficient_quota": errors.QuotaExhausted,
    "429_requests": (errors.RateLimited, 0.12),
    "429_tokens": (errors.RateLimited, 3.89),
    "429_requests_per_day": (errors.RateLimited, 432),
    "429_too_large_for_the_minute": errors.ContextTooLong,
    "429_azure": (errors.RateLimited, 26),
    "429_litellm_budget": errors.QuotaExhausted,
    "429_litellm_gemini": errors.RateLimited,  # Google says so of a minute's quota, too
    "429_litellm_quota": (errors.QuotaExhausted, 20),
    "429_mock_quota": errors.QuotaExhausted,
    "429_sdk_text": errors.QuotaExhausted,
    "500_server": errors.ServerError,
    "502_page": errors.ServerError,
    "503_litellm": (errors.Overloaded, 3),
    "503_overloaded": errors.Overloaded,
    "504_text": errors.ServerError,
    "529_minimax": errors.Overloaded,
}
ANTHROPIC = {
    "400_parameter": errors.BadRequest,
    "400_prompt_too_long": errors.ContextTooLong,
    "400_context_limit": errors.ContextTooLong,
    "400_credit_balance": errors.QuotaExhausted,
    "400_usage_limits": errors.QuotaExhausted,
    "400_output_filter": errors.ContentFiltered,
    "400_litellm_model": errors.ModelNotFound,
    "400_litellm_safety": errors.ContentFiltered,
    "401_wrong_key": errors.AuthenticationFailed,
    "402_billing": errors.QuotaExhausted,
    "403_permission": errors.PermissionRefused,
    "404_model": errors.ModelNotFound,
    "408_proxy": errors.ProviderTimeout,
    "413_too_large": errors.ContextTooLong,
    "422_proxy": errors.BadRequest,
    "429_requests": (errors.RateLimited, 12),
    "429_tokens": (errors.RateLimited, 41),
    "429_spend_limit": errors.QuotaExhausted,
    "429_litellm_quota": errors.QuotaExhausted,
    "429_tokens_per_day": (errors.RateLimited, 3600),  # the longest wait that is believed
    "500_api": errors.ServerError,
    "500_overloaded": errors.Overloaded,
    "502_page": errors.ServerError,
    "503_text": errors.Overloaded,
    "504_timeout": errors.ServerError,
    "529_overloaded": errors.Overloaded,
}
GEMINI = {
    "400_parameter": errors.BadRequest,
    "400_tokens": errors.ContextTooLong,
    "400_payload": errors.ContextTooLong,
    "400_location": errors.BadRequest,
    "400_wrong_key": errors.AuthenticationFailed,
    "401_credentials": errors.AuthenticationFailed,
    "403_leaked_key": errors.PermissionRefused,
    "403_service_disabled": errors.PermissionRefused,
    "404_model": errors.ModelNotFound,
    "408_proxy": errors.ProviderTimeout,
    "413_page": errors.ContextTooLong,
    "422_proxy": errors.BadRequest,
    "429_requests": (errors.RateLimited, 17),
    "429_tokens": (errors.RateLimited, 34.5),
    "429_requests_per_day": (errors.RateLimited, DAILY_WAIT_S),
    "429_bare": errors.RateLimited,
    "429_in_a_list": errors.RateLimited,
    "429_credits_depleted": errors.QuotaExhausted,
    "500_internal": errors.ServerError,
    "502_page": errors.ServerError,
    "503_overloaded": errors.Overloaded,
    "504_deadline": errors.ServerError,
    "529_gateway": errors.Overloaded,
}
TRIED_AGAIN = {
    errors.RateLimited,
    errors.Overloaded,
    errors.ProviderTimeout,
    errors.ServerError,
    errors.MalformedResponse,
}
NEXT_STEP = re.compile(r"[.!?…] (Change|Check|Correct|Send|Shorten|Top up|Try again|Use)\b.*\.$")


def check(provider: str, case: str, expected: object) -> None:
    kind, wait_s = expected if isinstance(expected, tuple) else (expected, None)
    status, headers, body = recorded(provider, case)
    error = PROVIDERS[provider].map_error(status, headers, body, "m")
    assert type(error) is kind
    assert error.retryable is (kind in TRIED_AGAIN)
    assert error.retry_after_s == (pytest.approx(wait_s) if wait_s else None)
    assert (error.status, error.provider, error.details["model"]) == (status, provider, "m")
    assert error.request_id == (headers.get("x-request-id") or headers.get("request-id"))
    assert str(error).startswith(f"{provider}/m answered {status}")
    assert NEXT_STEP.search(str(error)), str(error)
    wire = json.dumps(error.to_wire())
    assert KEY not in wire
    assert "<html" not in wire


@pytest.mark.parametrize(("case", "expected"), OPENAI.items(), ids=OPENAI)
def test_what_openai_and_its_kin_refuse(case: str, expected: object) -> None:
    check("openai", case, expected)


@pytest.mark.parametrize(("case", "expected"), ANTHROPIC.items(), ids=ANTHROPIC)
def test_what_anthropic_refuses(case: str, expected: object) -> None:
    check("anthropic", case, expected)


@pytest.mark.parametrize(("case", "expected"), GEMINI.items(), ids=GEMINI)
def test_what_gemini_refuses(case: str, expected: object) -> None:
    check("gemini", case, expected)


@pytest.mark.parametrize(
    ("provider", "tested"), [("openai", OPENAI), ("anthropic", ANTHROPIC), ("gemini", GEMINI)]
)
def test_every_recorded_refusal_is_tested(provider: str, tested: dict[str, object]) -> None:
    assert set(cases(provider, "4") + cases(provider, "5")) == set(tested)
