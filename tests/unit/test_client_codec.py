"""The codec: JSON both ways, typed answers and errors come back as what they were, pickle never loads."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from arq.worker import JobExecutionFailed

from client import Attempt, Completion, Embeddings, Message, ResultTimeout, Usage, decode, encode, errors
from client.errors import Unserializable
from client.wire.codec import describe
from client.wire.schemas import Timings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIMINGS = Timings(enqueued_at=NOW, queued_s=1, running_s=2)
COMMON: dict[str, Any] = {
    "job_id": "a",
    "model": "openai/m",
    "usage": Usage(input_tokens=3),
    "cost_usd": None,
    "timings": TIMINGS,
    "attempts": [],
}
COMPLETION = Completion(**COMMON, text="Hi", finish_reason="stop")
EMBEDDINGS = Embeddings(**COMMON, vectors=[[0.5, 1.0]])


@dataclass
class Point:
    x: int
    y: float


def travel(value: Any) -> Any:
    """`value` as a job's outcome, there and back."""
    return decode(encode({"r": value}))["r"]


@pytest.mark.parametrize("value", [None, True, 0, -1.5, 2**80, "ü\u2028😀", [], {}, [1, [2, {"a": None}]]])
def test_json_data_comes_back_as_it_was(value: object) -> None:
    assert travel(value) == value


class Word(str, Enum):  # noqa: UP042  a text, and an enum
    a = "a"


class Plain(Enum):
    one = 1


@dataclass
class Noted:
    at: datetime


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (Point(1, 2.5), {"x": 1, "y": 2.5}),
        ((1, 2), [1, 2]),
        (Word("a"), "a"),
        (Noted(NOW), {"at": "2026-01-02T03:04:05Z"}),
        ([[{"at": Noted(NOW)}]], [[{"at": {"at": "2026-01-02T03:04:05Z"}}]]),
        (Message(role="user", content="x"), {"role": "user", "content": "x"}),
    ],
)
def test_the_usual_python_values_arrive_as_json_data(value: object, data: object) -> None:
    assert travel(value) == data


@pytest.mark.parametrize(
    "value",
    [
        NOW,
        NOW.date(),
        UUID(int=1),
        Decimal("1.5"),
        {3},
        set(),
        Decimal(0),
        b"bytes",
        b"",
        Path("a"),
        1j,
        Plain.one,
        range(3),
    ],
)
@pytest.mark.parametrize("field", ["a", "k", "r"])
def test_what_json_does_not_have_is_refused_wherever_it_stands_and_never_a_text(
    value: object, field: str
) -> None:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".replace("Posix", "(Posix)?")
    for wrapped in (value, [1, value], {"x": [("y", value)]}):
        with pytest.raises(Unserializable, match=f"^A {kind} cannot be written as JSON: pass and return"):
            encode({field: wrapped})


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(Unserializable, match=r"^The key 1 of an object is no text"):
        encode({"r": [{"a": {1: "one"}}]})


@pytest.mark.parametrize("answer", [COMPLETION, EMBEDDINGS])
def test_an_answer_comes_back_as_its_model_wherever_it_stands(answer: object) -> None:
    assert travel(answer) == answer
    assert travel([answer, answer]) == [answer, answer]
    assert travel([None, 1, answer]) == [None, 1, answer]
    assert travel({"deep": [{"er": answer}]}) == {"deep": [{"er": answer}]}


@pytest.mark.parametrize("tag", ["chat.completion", "list", 5, None, ["promptmill.completion"]])
def test_a_foreign_tag_is_left_alone(tag: object) -> None:
    assert travel({"object": tag, "x": 1}) == {"object": tag, "x": 1}


def test_an_answer_of_another_version_arrives_as_data() -> None:
    data = COMPLETION.model_dump(mode="json")
    assert (
        travel(data | {"field_of_tomorrow": 1}) == COMPLETION
    )  # a newer one, without what is not known here
    del data["usage"]
    assert travel(data) == data


def test_what_is_new_in_an_answer_is_left_out_by_clients_that_do_not_know_it() -> None:
    attempt = Attempt(number=1, model="openai/m", started_at=NOW, duration_s=1, usage=Usage())
    for answer in (COMPLETION, EMBEDDINGS):
        told = answer.model_copy(update={"attempts": [attempt]})
        record = json.loads(encode({"r": told}))
        for part in (
            record["r"],
            *(record["r"][name] for name in ("usage", "timings")),
            *record["r"]["attempts"],
        ):
            part["new"] = {"new": 1}
        record["r"]["attempts"][0]["usage"]["new"] = 1
        assert decode(json.dumps(record).encode())["r"] == told


def test_only_the_outcome_is_revived() -> None:
    data = COMPLETION.model_dump(mode="json")
    assert decode(encode({"a": [data]}))["a"] == [data]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "A builtins.object cannot be written as JSON: pass and return JSON data or pydantic"),
        (lambda: 0, "A builtins.function cannot be written as JSON"),
        ({object(): 1}, "A builtins.object cannot be written as JSON"),
        (b"\xff", "This cannot be written as JSON: invalid utf-8"),
        ("half \ud800", "surrogates not allowed"),
    ],
)
def test_what_is_not_json_is_refused_in_one_sentence(value: object, reason: str) -> None:
    with pytest.raises(errors.Unserializable) as refusal:
        encode({"r": value})
    assert reason in str(refusal.value)
    assert str(refusal.value).endswith(".")


def test_a_circle_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(errors.Unserializable, match="Circular reference"):
        encode({"r": circle})


class Canary:
    sang = False

    def __reduce__(self) -> tuple[Callable[..., None], tuple[()]]:
        return (_sing, ())


def _sing() -> None:
    Canary.sang = True


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_refused_and_never_loaded(protocol: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(pickle.dumps(Canary(), protocol))
    assert not Canary.sang


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"5", b"null", b"\xff"])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(data)


def tree(root: type[errors.JobError]) -> list[type[errors.JobError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in tree(child))]


@pytest.mark.parametrize("kind", [kind for kind in tree(errors.JobError) if kind is not errors.JobAborted])
def test_an_error_comes_back_as_its_class_with_its_details(kind: type[errors.JobError]) -> None:
    error = travel(kind("It failed.", provider="openai", status=429, retry_after_s=1.5, code=None))
    assert type(error) is kind
    assert str(error) == "It failed."
    assert error.details == {"provider": "openai", "status": 429, "retry_after_s": 1.5}
    assert travel(kind("It failed.")).details == {}


def test_an_aborted_job_is_a_cancelled_error_as_arq_expects() -> None:
    for error in (errors.JobAborted("Stop."), asyncio.CancelledError()):
        outcome = travel(error)
        assert isinstance(outcome, asyncio.CancelledError)
        assert isinstance(describe(outcome), errors.JobAborted)


@pytest.mark.parametrize(
    ("foreign", "kind", "words"),
    [
        (JobExecutionFailed("job expired"), errors.JobExpired, "not started before its deadline"),
        (JobExecutionFailed("max 5 retries exceeded"), errors.TriesExhausted, "max 5 retries exceeded"),
        (JobExecutionFailed("function 'f' not found"), errors.UnknownFunction, "JOB_MODULES"),
        (JobExecutionFailed("other"), errors.JobFailed, "other"),
        (TimeoutError(), errors.JobTimedOut, "longer than its timeout"),
        (ResultTimeout("A child is late."), errors.JobFailed, "ResultTimeout: A child is late."),
        (ZeroDivisionError("division by zero"), errors.JobFailed, "ZeroDivisionError: division by zero"),
        (KeyError(), errors.JobFailed, "KeyError"),
    ],
)
def test_a_foreign_error_becomes_one_of_ours(
    foreign: Exception, kind: type[errors.JobError], words: str
) -> None:
    error = travel(foreign)
    assert type(error) is kind
    assert words in str(error)


def test_the_class_of_what_the_job_raised_is_told() -> None:
    assert travel(ZeroDivisionError("x")).error_type == "ZeroDivisionError"
    assert (
        travel({"object": errors.WIRE_TAG, "type": "OfTomorrow", "message": "m"}).error_type == "OfTomorrow"
    )


@pytest.mark.parametrize("details", [None, 5, [1], "x", {"message": "m", "self": 1}])
def test_odd_details_do_not_break_the_reader(details: object) -> None:
    record = {"object": errors.WIRE_TAG, "type": "RateLimited", "message": "Slow.", "details": details}
    assert str(travel(record)) == "Slow."
