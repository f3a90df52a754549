"""What a provider's status codes and error codes mean: the one table of them."""

from __future__ import annotations

from ..errors import (
    AuthenticationFailed,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    ModelNotFound,
    Overloaded,
    PermissionRefused,
    ProviderError,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    TransientProviderError,
)

# A gateway that gave up waiting: what is behind it may go on, and is paid for
GAVE_UP_STATUSES = (408, 504, 524)

BY_STATUS: dict[int, type[ProviderError]] = {
    400: BadRequest,
    401: AuthenticationFailed,
    402: QuotaExhausted,
    403: PermissionRefused,
    404: ModelNotFound,
    408: ProviderTimeout,
    409: TransientProviderError,  # OpenAI: "conflict with another request, try again"
    413: ContextTooLong,
    422: BadRequest,
    425: TransientProviderError,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}

BY_CODE: dict[str, type[ProviderError]] = {
    "insufficient_quota": QuotaExhausted,
    "billing_hard_limit_reached": QuotaExhausted,
    "billing_not_active": QuotaExhausted,
    "billing_error": QuotaExhausted,
    "contract_spend_limit_reached": QuotaExhausted,  # Anthropic's three, the first two behind 429
    "enforced_spend_limit_reached": QuotaExhausted,
    "linked_organization_spend_limit_reached": QuotaExhausted,
    "budget_exceeded": QuotaExhausted,  # LiteLLM's, of a key of its own
    "context_length_exceeded": ContextTooLong,
    "request_too_large": ContextTooLong,
    "string_above_max_length": ContextTooLong,
    "content_filter": ContentFiltered,
    "content_policy_violation": ContentFiltered,
    "moderation_blocked": ContentFiltered,
    "model_not_found": ModelNotFound,
    "deploymentnotfound": ModelNotFound,
    "invalid_api_key": AuthenticationFailed,
    "api_key_invalid": AuthenticationFailed,  # Google's, behind 400
    "no_db_connection": AuthenticationFailed,  # LiteLLM without a database: it knows one key alone
    "authentication_error": AuthenticationFailed,
    "permission_error": PermissionRefused,
    "overloaded_error": Overloaded,
    "rate_limit_error": RateLimited,
}
