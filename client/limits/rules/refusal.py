"""Which exceptions mean that a provider had no room, or could not be reached: ours, and by their shape those of the
SDKs. Imports none."""

from __future__ import annotations

from ...errors import JobError, Overloaded, QuotaExhausted, RateLimited
from ...wire.refusals import BY_CODE, BY_STATUS
from .retry_after import retry_after_s

# By these names of httpx no request has gone out; an SDK chains its own error to them
_NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError")


def refusal_s(error: BaseException) -> float | None:
    """How long the provider asked us to wait, in seconds, 0 where it did not say; None where this is no refusal.

    An SDK's error has a `response` with `status_code` and `headers`, as openai's, anthropic's and httpx's
    have. An account that is out of money is refused for another reason, which no waiting cures.
    """
    if isinstance(error, RateLimited | Overloaded):
        return error.retry_after_s or 0.0
    response = getattr(error, "response", None)
    kind = BY_STATUS.get(getattr(response, "status_code", 0))
    if (
        kind not in (RateLimited, Overloaded)
        or BY_CODE.get(str(getattr(error, "code", ""))) is QuotaExhausted
    ):
        return None
    headers = getattr(response, "headers", None)
    return 0.0 if headers is None else retry_after_s(headers) or 0.0


def was_unreached(error: BaseException) -> bool:
    """Whether a call ended in `error` because nothing could be sent, which another moment may cure: the provider knows
    nothing of it."""
    if isinstance(error, JobError):
        return error.retryable and error.details.get("sent") is False
    chain = (type(each) for each in (error, error.__cause__))
    return any(kind.__name__ in _NEVER_SENT and kind.__module__.startswith("httpx") for kind in chain)
