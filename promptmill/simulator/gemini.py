"""Google's dialect of the Gemini API: its key header and its error bodies. It sends no limit headers."""

import math
from collections.abc import Mapping
from typing import Any

from .admission import Allowance, RateLimit, Rejection
from .dialect import INVALID_KEY, NO_QUOTA_KEY, UNKNOWN_MODEL_PREFIXES, Refused

_TYPES = "type.googleapis.com/google.rpc."
_QUOTAS = {
    RateLimit.CONCURRENCY: "GenerateConcurrentRequestsPerProjectPerModel",
    RateLimit.REQUESTS: "GenerateRequestsPerMinutePerProjectPerModel",
    RateLimit.TOKENS: "GenerateContentInputTokensPerModelPerMinute",
}


def error(code: int, status: str, message: str, *details: Mapping[str, Any]) -> Refused:
    """Google's error envelope."""
    body: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        body["details"] = list(details)
    return Refused(code, {"error": body})


def invalid(message: str) -> Refused:
    return error(400, "INVALID_ARGUMENT", message)


def check_model(model: str) -> None:
    """Raises `Refused` for a model that is not there."""
    if model.startswith(UNKNOWN_MODEL_PREFIXES):
        raise error(
            404,
            "NOT_FOUND",
            f"models/{model} is not found for API version v1beta, or is not supported for "
            "generateContent. Call ListModels to see the list of available models and their "
            "supported methods.",
        )


class SimulatedGemini:
    """Google's `Dialect`."""

    request_id_header = "x-request-id"

    def authenticate(self, headers: Mapping[str, str]) -> None:
        key = headers.get("x-goog-api-key", "")
        if not key:
            raise error(
                403,
                "PERMISSION_DENIED",
                "Method doesn't allow unregistered callers (callers without established identity). "
                "Please use API Key or other form of API consumer identity to call this API.",
            )
        if key == INVALID_KEY:
            # Google has no 401 for a wrong key.
            reason = {"@type": _TYPES + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            raise error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", reason)
        if key == NO_QUOTA_KEY:
            raise error(
                429,
                "RESOURCE_EXHAUSTED",
                "Your prepayment credits are depleted. Please go to AI Studio to manage your project "
                "and billing.",
            )

    def limit_headers(self, allowances: Mapping[RateLimit, Allowance]) -> dict[str, str]:
        return {}

    def over_limit(self, rejection: Rejection, model: str) -> Refused:
        violation = {
            "quotaId": _QUOTAS[rejection.limit],
            "quotaDimensions": {"location": "global", "model": model},
            "quotaValue": str(rejection.cap),
        }
        details: list[dict[str, Any]] = [{"@type": _TYPES + "QuotaFailure", "violations": [violation]}]
        if rejection.retry_after_s is not None:
            delay = f"{math.ceil(rejection.retry_after_s)}s"
            details.append({"@type": _TYPES + "RetryInfo", "retryDelay": delay})
        message = "You exceeded your current quota, please check your plan and billing details."
        return error(429, "RESOURCE_EXHAUSTED", message, *details)

    def body_too_large(self) -> Refused:
        return invalid("Request payload size exceeds the limit: 20971520 bytes.")

    def server_error(self) -> Refused:
        return error(500, "INTERNAL", "An internal error has occurred. Please retry.")

    def overloaded(self) -> Refused:
        return error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")

    def down(self) -> Refused:
        return error(503, "UNAVAILABLE", "The service is currently unavailable.")
