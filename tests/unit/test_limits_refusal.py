"""Which exceptions that leave a slot are refusals of its model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from client.errors import BadRequest, Overloaded, RateLimited
from client.limits.rules.refusal import refusal_s
from client.limits.slots import Slot


class SdkError(Exception):
    """As openai's and anthropic's APIStatusError, and httpx's HTTPStatusError, are made."""

    def __init__(self, status: int | None, code: str | None = None, **headers: str) -> None:
        self.code = code
        self.response = SimpleNamespace(status_code=status, headers={"retry-after": None, **headers})


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (RateLimited("slow", retry_after_s=7), 7),
        (Overloaded("full"), 0),
        (SdkError(429), 0),
        (SdkError(503), 0),
        (SdkError(529, **{"retry-after": "3"}), 3),
        (SdkError(429, **{"retry-after-ms": "250", "retry-after": "1"}), 0.25),
        (SdkError(429, **{"retry-after": "tomorrow"}), 0),
        (SdkError(429, code="insufficient_quota"), None),
        (SdkError(500), None),
        (SdkError(None), None),
        (BadRequest("no"), None),
        (ValueError(), None),
    ],
)
def test_a_refusal_is_told_by_its_shape(error: Exception, wait_s: float | None) -> None:
    assert refusal_s(error) == wait_s


def test_a_response_without_headers_is_a_refusal_all_the_same() -> None:
    error = SdkError(429)
    error.response = SimpleNamespace(status_code=429)
    assert refusal_s(error) == 0


def test_an_sdks_refusal_that_leaves_the_block_is_told_of_its_model() -> None:
    slot = Slot(None)
    slot._ended(SdkError(429, **{"retry-after": "2"}))
    assert (slot._signal, slot._wait_s) == ("refused", 2)


def test_what_the_block_has_told_itself_holds() -> None:
    slot = Slot(None)
    slot.answered()
    slot._ended(SdkError(429))
    assert slot._signal == "ok"
