"""OpenAI's dialect: bearer keys, its error bodies, its rate-limit headers."""

import math
from collections.abc import Mapping
from typing import Any

from .admission import Allowance, RateLimit, Rejection
from .dialect import INVALID_KEY, NO_QUOTA_KEY, UNKNOWN_MODEL_PREFIXES, Refused

KEYS_PAGE = "https://platform.openai.com/account/api-keys"
LIMITS_PAGE = "https://platform.openai.com/account/rate-limits"


def error(
    status: int,
    message: str,
    *,
    type: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Refused:
    """OpenAI's error envelope."""
    body = {"error": {"message": message, "type": type, "param": param, "code": code}}
    return Refused(status, body, headers)


def check_body(body: dict[str, Any] | None) -> dict[str, Any]:
    """The body, which must be a JSON object naming a known model; raises `Refused`."""
    if body is None:
        raise error(
            400,
            "We could not parse the JSON body of your request. (HINT: This likely means you "
            "aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, "
            "but what was sent was not valid JSON.)",
        )
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise error(400, "you must provide a model parameter")
    if model.startswith(UNKNOWN_MODEL_PREFIXES):
        raise error(
            404,
            f"The model `{model}` does not exist or you do not have access to it.",
            code="model_not_found",
        )
    return body


def format_duration(seconds: float) -> str:
    """A duration as OpenAI's reset headers have it: `20ms`, `1s`, `8.64s`, `6m0s`, `1h0m5s`."""
    milliseconds = math.ceil(max(0.0, seconds) * 1000 - 1e-6)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest_ms = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{head}{rest_ms / 1000:g}s"


class SimulatedOpenAI:
    """OpenAI's `Dialect`."""

    request_id_header = "x-request-id"

    def authenticate(self, headers: Mapping[str, str]) -> None:
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise error(
                401,
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY). "
                f"You can obtain an API key from {KEYS_PAGE}.",
            )
        if key == INVALID_KEY:
            raise error(
                401,
                f"Incorrect API key provided: {key[:5]}***{key[-3:]}. "
                f"You can find your API key at {KEYS_PAGE}.",
                code="invalid_api_key",
            )
        if key == NO_QUOTA_KEY:
            raise error(
                429,
                "You exceeded your current quota, please check your plan and billing details.",
                type="insufficient_quota",
                code="insufficient_quota",
            )

    def limit_headers(self, allowances: Mapping[RateLimit, Allowance]) -> dict[str, str]:
        headers = {}
        for limit, allowance in allowances.items():
            headers[f"x-ratelimit-limit-{limit}"] = str(allowance.cap)
            headers[f"x-ratelimit-remaining-{limit}"] = str(allowance.remaining)
            headers[f"x-ratelimit-reset-{limit}"] = format_duration(allowance.reset_s)
        return headers

    def over_limit(self, rejection: Rejection, model: str) -> Refused:
        what = {
            RateLimit.CONCURRENCY: "concurrent requests",
            RateLimit.REQUESTS: "requests per min (RPM)",
            RateLimit.TOKENS: "tokens per min (TPM)",
        }[rejection.limit]
        type_ = "tokens" if rejection.limit is RateLimit.TOKENS else "requests"
        wait_s = rejection.retry_after_s
        if wait_s is None:
            return error(
                429,
                f"Request too large for {model} in organization org-simulator on {what}: "
                f"Limit {rejection.cap}, Requested {rejection.requested}. The input or output "
                f"tokens must be reduced in order to run successfully. Visit {LIMITS_PAGE} to "
                "learn more.",
                type=type_,
                code="rate_limit_exceeded",
            )
        return error(
            429,
            f"Rate limit reached for {model} in organization org-simulator on {what}: "
            f"Limit {rejection.cap}, Used {rejection.used}, Requested {rejection.requested}. "
            f"Please try again in {format_duration(wait_s)}. Visit {LIMITS_PAGE} to learn more.",
            type=type_,
            code="rate_limit_exceeded",
            headers={
                "retry-after": str(math.ceil(wait_s)),
                "retry-after-ms": str(math.ceil(wait_s * 1000)),
            },
        )

    def body_too_large(self) -> Refused:
        return error(413, "Request body is too large.")

    def server_error(self) -> Refused:
        return error(
            500,
            "The server had an error while processing your request. Sorry about that!",
            type="server_error",
        )

    def overloaded(self) -> Refused:
        return error(
            503,
            "The engine is currently overloaded, please try again later.",
            type="overloaded_error",
        )

    def down(self) -> Refused:
        return error(503, "The server is temporarily unavailable.", type="server_error")
