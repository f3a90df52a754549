"""Status and body → the typed error, its sentence, and nothing secret."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from client import errors
from promptmill.dialects.anthropic import Anthropic
from promptmill.dialects.base import Provider
from promptmill.dialects.openai import OpenAI
from promptmill.dialects.redaction import redact
from promptmill.dialects.refusals import classify, read_refusal
from promptmill.dialects.retry_after import MAX_RETRY_AFTER_S, retry_after_s

KEY = "sk-proj-Zx81kkQqLm9"
OPENAI = OpenAI("openai", "https://api.openai.com/v1", KEY, "OPENAI_API_KEY")
ANTHROPIC = Anthropic("anthropic", "https://api.anthropic.com/v1", KEY, "ANTHROPIC_API_KEY")


def openai(
    message: str = "no", code: str | None = None, type: str = "invalid_request_error", **more: Any
) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": None, "code": code, **more}}


def anthropic(type: str, message: str = "no") -> dict[str, Any]:
    return {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_2"}


def refused(
    status: int, body: object, headers: Mapping[str, str] | None = None, provider: Provider = OPENAI
) -> errors.ProviderError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return provider.map_error(status, httpx.Headers(headers), raw, "gpt-4o")


CASES = [
    (400, openai(), errors.BadRequest),
    (401, openai(code="invalid_api_key"), errors.AuthenticationFailed),
    (402, openai(), errors.QuotaExhausted),
    (403, openai(), errors.PermissionRefused),
    (404, openai(code="model_not_found"), errors.ModelNotFound),
    (404, b"", errors.ModelNotFound),
    (405, b"", errors.BadRequest),
    (408, b"", errors.ProviderTimeout),
    (409, b"", errors.TransientProviderError),
    (413, b"<html>too large</html>", errors.ContextTooLong),
    (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, errors.BadRequest),
    (429, openai(code="rate_limit_exceeded", type="tokens"), errors.RateLimited),
    (429, openai(code="insufficient_quota", type="insufficient_quota"), errors.QuotaExhausted),
    (
        429,
        openai("Request too large for gpt-4o on tokens per min (TPM)", "rate_limit_exceeded"),
        errors.ContextTooLong,
    ),
    (500, openai(), errors.ServerError),
    (502, b"<html>bad gateway</html>", errors.ServerError),
    (503, b"no healthy upstream", errors.Overloaded),
    (504, b"", errors.ServerError),
    (529, b"", errors.Overloaded),
    (599, b"", errors.ServerError),
    (302, b"", errors.PermanentProviderError),
    (400, openai(code="context_length_exceeded"), errors.ContextTooLong),
    (400, openai("This model's maximum context length is 8192 tokens."), errors.ContextTooLong),
    (400, openai(code="content_policy_violation"), errors.ContentFiltered),
    (
        400,
        openai(code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}),
        errors.ContentFiltered,
    ),
    (400, openai(innererror={"code": "ResponsibleAIPolicyViolation"}), errors.ContentFiltered),
    (
        400,
        anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000"),
        errors.ContextTooLong,
    ),
    (
        400,
        anthropic("invalid_request_error", "Your credit balance is too low to access"),
        errors.QuotaExhausted,
    ),
    (
        400,
        anthropic("invalid_request_error", "Output blocked by content filtering policy"),
        errors.ContentFiltered,
    ),
    (401, anthropic("authentication_error"), errors.AuthenticationFailed),
    (403, anthropic("permission_error"), errors.PermissionRefused),
    (413, anthropic("request_too_large"), errors.ContextTooLong),
    (429, anthropic("rate_limit_error"), errors.RateLimited),
    (500, anthropic("api_error"), errors.ServerError),
    (500, anthropic("overloaded_error"), errors.Overloaded),
    (529, anthropic("overloaded_error"), errors.Overloaded),
    (429, [{"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}], errors.RateLimited),
    (404, {"error": "model 'x' not found, try pulling it first"}, errors.ModelNotFound),
    (400, {"object": "error", "message": "bad", "code": 400}, errors.BadRequest),
    (400, b"null", errors.BadRequest),
    (400, {"error": None}, errors.BadRequest),
]


@pytest.mark.parametrize(("status", "body", "kind"), CASES)
def test_status_and_body_decide_the_error(status: int, body: object, kind: type[errors.JobError]) -> None:
    for provider in (OPENAI, ANTHROPIC):
        error = refused(status, body, provider=provider)
        assert type(error) is kind
        assert error.status == status
        assert str(error).startswith(f"{provider.name}/gpt-4o answered {status}")
        json.dumps(error.to_wire())


def test_the_sentence_says_who_what_why_and_what_next() -> None:
    error = refused(401, openai("Bad key", "invalid_api_key"), {"x-request-id": "req_9"})
    assert str(error) == "openai/gpt-4o answered 401 invalid_api_key: Bad key. Check OPENAI_API_KEY."
    assert error.details == {
        "provider": "openai", "model": "gpt-4o", "status": 401, "code": "invalid_api_key", "request_id": "req_9",
    }  # fmt: skip


def test_a_long_message_is_cut() -> None:
    assert len(str(refused(400, openai("long " * 10_000)))) < 400


def test_a_page_of_html_is_not_quoted() -> None:
    error = refused(502, b"\n<!DOCTYPE html><html><title>Bad gateway</title></html>")
    assert "<" not in str(error)
    assert "an HTML page" in str(error)
    assert "https://api.openai.com/v1 is the address" in str(refused(404, b"<html></html>"))


@pytest.mark.parametrize(
    "message",
    [
        "Incorrect API key provided: sk-abc***xyz9. You can find your API key at",
        "Incorrect API key provided: abcd****wxyz9",
        "invalid x-api-key: xyz9",
        f"the key {KEY} xyz9***",
        "header Authorization: Bearer xyz9",
        "Bearer xyz9.abc was refused",
        "AIzaSyA-xyz9 is not valid",
        "gsk_xyz9xyz9xyz9 is not valid",
        "cannot reach http://me:xyz9@proxy:8080/",
    ],
)
def test_no_part_of_a_key_is_ever_quoted(message: str) -> None:
    error = refused(401, openai(message, code=KEY))
    for said in (str(error), json.dumps(error.to_wire())):
        assert "xyz9" not in said
        assert KEY not in said
        assert "[hidden]" in said


@pytest.mark.parametrize(
    ("user", "said"),
    [("me:xyz999", "Basic bWU6eHl6OTk5"), ("me:xyz999", "me:xyz999 is unknown"), ("xyz999", "who is xyz999")],
)
def test_the_password_of_an_address_is_never_quoted(user: str, said: str) -> None:
    provider = OpenAI("local", f"http://{user}@localhost/v1", None, "PROVIDERS__LOCAL__API_KEY")
    told = json.dumps(refused(400, openai(f"{said}: no", said), provider=provider).to_wire())
    assert "[hidden]" in told
    assert not any(secret in told for secret in ("xyz999", "bWU6eHl6OTk5"))


def test_a_key_in_the_id_of_a_request_is_hidden() -> None:
    assert refused(500, b"", {"x-request-id": f"for {KEY}"}).request_id == "for [hidden]"


OPENAIS = {"message": "Invalid URL (POST /v1/v1/chat/completions)", "type": "invalid_request_error"}


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (404, b"404 page not found", "address"),
        (404, b"", "address"),
        (405, b"Method Not Allowed", "address"),
        (404, b"<html>not found</html>", "address"),
        (404, {"detail": "Not Found"}, "address"),
        (404, {"status": 404, "error": "Not Found", "path": "/chat/completions"}, "address"),
        (404, {"error": {"code": "404", "message": "Resource not found"}}, "name address"),
        (404, {"error": OPENAIS}, "name address"),
        (404, openai("The model `gpt-4o` does not exist", "model_not_found"), "name"),
        (404, anthropic("not_found_error", "model: gpt-4o"), "name"),
        (
            404,
            {"error": {"code": 404, "message": "No endpoints found for gpt-4o.", "status": "NOT_FOUND"}},
            "name",
        ),
        (404, {"error": {"message": "models/gpt-4o is not found for API version v1beta"}}, "name"),
        (404, {"error": "model 'gpt-4o' not found, try pulling it first"}, "name"),
        (404, {"error": {"code": "DeploymentNotFound", "message": "It does not exist."}}, "name"),
    ],
)
def test_what_is_not_there_is_the_model_or_the_address(status: int, body: object, advice: str) -> None:
    said = str(refused(status, body))
    assert ("Check the model's name" in said) is ("name" in advice)
    assert ("https://api.openai.com/v1 is the address of its API, with its version" in said) is (
        "address" in advice
    )


def test_a_long_text_is_cut_before_it_is_searched_and_no_half_of_a_key_stays() -> None:
    began_s = time.process_time()
    assert len(redact("x" * 3_000_000)) < 5_000
    assert time.process_time() - began_s < 0.2
    for length in range(3_990, 4_330, 9):
        told = redact("x" * (length - 30) + f" {KEY} me***{KEY[:9]} " + "y" * 9_000, KEY)
        assert KEY[:6] not in told, length


def test_ordinary_words_are_not_hidden() -> None:
    text = "The api key is missing; a risk-free sk of 12 * 3 tokens: see https://x.test/a@b."
    assert redact(text, "x") == text


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 -0000"}, 30),
        ({"retry-after": "Wed, 31 Dec 2025 00:00:00 GMT"}, 0),
        ({"retry-after": "999999999"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(httpx.Headers(headers), NOW) == seconds


def test_the_wait_travels_with_the_error() -> None:
    assert refused(429, openai(), {"retry-after": "3"}).retry_after_s == 3


def test_an_answer_that_a_gateway_quotes_is_not_taken_for_its_upstream_s_error() -> None:
    """LiteLLM's 500 for an answer that it cannot read holds the model's words."""
    head, words = "litellm.InternalServerError: OpenAIException - ", '{"type": "insufficient_quota"}'
    for said, kind in ((f"Received: '{words}'", errors.ServerError), (words, errors.QuotaExhausted)):
        refusal = read_refusal(json.dumps({"error": {"message": head + said, "code": "500"}}).encode())
        assert classify(500, refusal) is kind
