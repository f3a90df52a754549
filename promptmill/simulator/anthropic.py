"""Anthropic's dialect: its key and version headers, its error bodies, its limit headers."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from .admission import Allowance, RateLimit, Rejection
from .dialect import INVALID_KEY, NO_QUOTA_KEY, Refused


def error(status: int, type: str, message: str, headers: Mapping[str, str] | None = None) -> Refused:
    """Anthropic's error envelope."""
    return Refused(status, {"type": "error", "error": {"type": type, "message": message}}, headers)


class SimulatedAnthropic:
    """Anthropic's `Dialect`."""

    request_id_header = "request-id"

    def authenticate(self, headers: Mapping[str, str]) -> None:
        bearer = headers.get("authorization", "").removeprefix("Bearer ")  # as its SDK sends the key since 2
        key = headers.get("x-api-key") or bearer
        if not key:
            raise error(401, "authentication_error", "x-api-key header is required")
        if key == INVALID_KEY:
            raise error(401, "authentication_error", "invalid x-api-key")
        if not headers.get("anthropic-version"):
            raise error(400, "invalid_request_error", "anthropic-version: header is required")
        if key == NO_QUOTA_KEY:
            # Anthropic has no insufficient_quota: an empty purse is a bad request there.
            raise error(
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the SimulatedAnthropic API. Please go to "
                "Plans & Billing to upgrade or purchase credits.",
            )

    def limit_headers(self, allowances: Mapping[RateLimit, Allowance]) -> dict[str, str]:
        headers = {}
        for limit, allowance in allowances.items():
            full_at = datetime.now(UTC) + timedelta(seconds=allowance.reset_s)
            prefix = f"anthropic-ratelimit-{limit}"
            headers[f"{prefix}-limit"] = str(allowance.cap)
            headers[f"{prefix}-remaining"] = str(allowance.remaining)
            headers[f"{prefix}-reset"] = full_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers

    def over_limit(self, rejection: Rejection, model: str) -> Refused:
        if rejection.limit is RateLimit.CONCURRENCY:
            message = "Number of concurrent connections has exceeded your rate limit. Please try again later."
        else:
            message = (
                "This request would exceed your organization's rate limit of "
                f"{rejection.cap:,} {rejection.limit} per minute (model: {model})."
            )
        wait_s = rejection.retry_after_s
        headers = {} if wait_s is None else {"retry-after": str(math.ceil(wait_s))}
        return error(429, "rate_limit_error", message, headers)

    def body_too_large(self) -> Refused:
        return error(413, "request_too_large", "Request exceeds the maximum size")

    def server_error(self) -> Refused:
        return error(500, "api_error", "Internal server error")

    def overloaded(self) -> Refused:
        return error(529, "overloaded_error", "Overloaded")

    def down(self) -> Refused:
        return error(503, "api_error", "Service temporarily unavailable")
