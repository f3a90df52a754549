"""What a provider's API has to say for itself, so that one flow can serve them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import from_json

from .admission import Allowance, RateLimit, Rejection
from .config import SimulatorConfig

UNKNOWN_MODEL_PREFIXES = ("unknown", "missing")
INVALID_KEY = "sk-invalid"
NO_QUOTA_KEY = "sk-no-quota"


class Refused(Exception):
    """A call answered with an error: the status, the provider's body, extra headers."""

    def __init__(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Events:
    """A stream ready to send: server-sent events as bytes, one item of `tokens` a token. Where they are
    `stamped`, each STAMP in them becomes the time of its sending."""

    opening: bytes
    tokens: list[bytes]
    closing: bytes
    stamped: bool = False


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer to be: rendered when its time has come. `events` only where a stream was asked."""

    model: str
    input_tokens: int
    output_tokens: int
    body: Callable[[], bytes]
    events: Callable[[], Events] | None = None


class Dialect(Protocol):
    """One provider's way to authenticate, to refuse and to report its limits.

    The functions that return `Refused` leave raising it to the caller."""

    request_id_header: str

    def authenticate(self, headers: Mapping[str, str]) -> None:
        """Raise `Refused` unless the headers are those of a paying caller."""

    def limit_headers(self, allowances: Mapping[RateLimit, Allowance]) -> dict[str, str]: ...

    def over_limit(self, rejection: Rejection, model: str) -> Refused: ...

    def body_too_large(self) -> Refused: ...

    def server_error(self) -> Refused: ...

    def overloaded(self) -> Refused: ...

    def down(self) -> Refused: ...


# Reads a request's body into the reply it deserves, or raises `Refused`.
ReadCall = Callable[[bytes, SimulatorConfig], HttpReply]


def parse_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in the body, or None when it holds none."""
    try:
        parsed = from_json(body)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def objects(value: object) -> list[dict[str, Any]]:
    """The objects of a list; none where it is not one."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def mapping(value: object) -> dict[str, Any]:
    """An object; an empty one where it is not one."""
    return value if isinstance(value, dict) else {}


def is_positive_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
