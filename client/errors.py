"""Everything that can go wrong, as one tree.

    MillError                          has a message that says what to do next
    ├── QueueUnavailable               Redis cannot be reached, or refuses us
    ├── InvalidRedisURL                the URL of the server cannot be used
    ├── InvalidRequest                 the request is refused before anything is sent
    ├── ResultTimeout                  the caller stopped waiting; the job goes on (a TimeoutError too)
    └── JobError                       the job has ended without a result
        ├── JobNotFound                no such id, or its result has expired
        ├── JobAborted                 somebody called abort()
        ├── JobExpired                 not started before its deadline
        ├── JobTimedOut                ran longer than its timeout
        ├── SlotTimeout                a call waited longer than its wait_s for a slot
        ├── SlotLost                   the slot of a call was taken away, or had lapsed
        ├── JobFailed                  its own code raised; `error_type` names the class
        │   ├── UnknownFunction        no worker knows a function of that name
        │   ├── TriesExhausted         failed on every try it had
        │   ├── JobCrashed             took three workers with it
        │   ├── ProcessDied            a CPU job's process crashed, or ran out of memory
        │   └── Unserializable         its arguments or its result are not JSON, or too large
        ├── ProviderNotConfigured      no such provider, or no key for it
        └── ProviderError              the provider refused or failed
            ├── TransientProviderError worth another try
            │   ├── RateLimited        429: too many requests or tokens
            │   ├── Overloaded         503, 529: the provider has no room
            │   ├── ProviderTimeout    no answer in time
            │   ├── ProviderUnreachable the connection failed or broke
            │   ├── ServerError        any other 5xx
            │   └── MalformedResponse  an answer that cannot be read
            └── PermanentProviderError the same request would fail again
                ├── BadRequest         400, 422: the request itself is wrong
                ├── AuthenticationFailed 401: the key is wrong
                ├── PermissionRefused  403: the key may not do this
                ├── QuotaExhausted     402, insufficient_quota: the account is out of money
                ├── ModelNotFound      404: no such model
                ├── ContextTooLong     400, 413: more tokens than the model takes
                └── ContentFiltered    the provider's policy refused it

The class decides whether to retry (and one detail of MalformedResponse). Every JobError travels through Redis as JSON
(`to_wire`) and is raised in the caller as the class it was (`from_wire`). No message ever holds a secret.
"""

from __future__ import annotations

from typing import Any

WIRE_TAG = "promptmill.error"


class MillError(Exception):
    """The root. `str(error)` is one sentence that says what to do next."""


class QueueUnavailable(MillError):
    """Redis cannot be reached, or refuses us."""


class InvalidRedisURL(MillError, ValueError):
    """The URL of the server cannot be used."""


class InvalidRequest(MillError, ValueError):
    """The request is refused before anything is sent."""


class ResultTimeout(MillError, TimeoutError):
    """The caller stopped waiting; the job goes on and its result can still be fetched."""


class JobError(MillError):
    """The job has ended without a result. `details` are the fields that travel with the message."""

    retryable: bool = False

    def __init__(self, message: str, /, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = {k: v for k, v in details.items() if v is not None}

    def to_wire(self) -> dict[str, Any]:
        """The error as JSON-able data; `from_wire` gives an equal error back."""
        return {
            "object": WIRE_TAG,
            "type": type(self).__name__,
            "message": self.message,
            **({"details": self.details} if self.details else {}),
        }


class JobNotFound(JobError):
    """No such id, or its result has expired."""


class JobAborted(JobError):
    """Somebody called abort()."""


class JobExpired(JobError):
    """Not started before its deadline."""


class JobTimedOut(JobError):
    """Ran longer than its timeout."""


class SlotTimeout(JobError):
    """A call waited longer than its wait_s for a slot; it has none, and nothing is left of it."""


class SlotLost(JobError):
    """The slot of a call was taken away, or had lapsed and another call has it; the call was cancelled."""


class JobFailed(JobError):
    """The job's own code raised; `error_type` names the class of what it raised."""

    @property
    def error_type(self) -> str | None:
        return self.details.get("error_type")


class UnknownFunction(JobFailed):
    """No worker knows a function of that name."""


class TriesExhausted(JobFailed):
    """Failed on every try it had."""


class JobCrashed(JobFailed):
    """Took three workers with it; it is among the dead letters."""


class ProcessDied(JobFailed):
    """A CPU job's process crashed, or ran out of memory, while it ran the job."""


class Unserializable(JobFailed):
    """The job's arguments or its result are not JSON, or its result is too large."""


class ProviderNotConfigured(JobError):
    """No such provider, or no key for it."""


class ProviderError(JobError):
    """The provider refused or failed."""

    @property
    def provider(self) -> str | None:
        return self.details.get("provider")

    @property
    def status(self) -> int | None:
        """The HTTP status, or None where there was no answer."""
        return self.details.get("status")

    @property
    def code(self) -> str | None:
        """The provider's own name for what went wrong."""
        return self.details.get("code")

    @property
    def retry_after_s(self) -> float | None:
        """How long the provider asked us to wait, in seconds."""
        return self.details.get("retry_after_s")

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request, to quote in a support ticket."""
        return self.details.get("request_id")


class TransientProviderError(ProviderError):
    """Worth another try."""

    retryable = True


class RateLimited(TransientProviderError):
    """429: too many requests or tokens."""


class Overloaded(TransientProviderError):
    """503, 529: the provider has no room."""


class ProviderTimeout(TransientProviderError):
    """No answer in time."""


class ProviderUnreachable(TransientProviderError):
    """The connection failed or broke."""


class ServerError(TransientProviderError):
    """Any other 5xx."""


class MalformedResponse(TransientProviderError):
    """An answer that cannot be read. With `details["final"]`, such as one that is too large, it is not worth another
    try: the model would be paid for the same once more."""

    def __init__(self, message: str, /, **details: Any) -> None:
        super().__init__(message, **details)
        self.retryable = not details.get("final")


class PermanentProviderError(ProviderError):
    """The same request would fail again."""


class BadRequest(PermanentProviderError):
    """400, 422: the request itself is wrong."""


class AuthenticationFailed(PermanentProviderError):
    """401: the key is wrong."""


class PermissionRefused(PermanentProviderError):
    """403: the key may not do this."""


class QuotaExhausted(PermanentProviderError):
    """402, insufficient_quota: the account is out of money."""


class ModelNotFound(PermanentProviderError):
    """404: no such model."""


class ContextTooLong(PermanentProviderError):
    """400, 413: more tokens than the model takes."""


class ContentFiltered(PermanentProviderError):
    """The provider's policy refused it."""


def from_wire(data: dict[str, Any]) -> JobError:
    """The error that `to_wire` described. A type this version does not know becomes JobFailed."""
    name, message = str(data.get("type")), str(data.get("message"))
    details = data.get("details")
    if not isinstance(details, dict):
        details = {}
    kind = _by_name(JobError).get(name)
    if kind is None:
        return JobFailed(message, **{**details, "error_type": name})
    return kind(message, **details)


def _by_name(root: type[JobError]) -> dict[str, type[JobError]]:
    known = {root.__name__: root}
    for child in root.__subclasses__():
        if child.__module__ == __name__:
            known.update(_by_name(child))
    return known
