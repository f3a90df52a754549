"""The tree of errors: the docstring draws each class once, in its place."""

from __future__ import annotations

import inspect
import re

import pytest

from client import MillError, errors

LINE = re.compile(r"^ {4}(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+) +\S", re.MULTILINE)


def test_the_docstring_names_every_class_once_under_its_parent() -> None:
    drawn: list[tuple[str, str]] = []
    path: list[str] = []
    for line in LINE.finditer(errors.__doc__ or ""):
        depth = len(line["branch"]) // 4
        path[depth:] = [line["name"]]
        drawn.append((line["name"], path[depth - 1] if depth else "Exception"))
    real = [
        (name, kind.__bases__[0].__name__)
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, MillError)
    ]
    assert sorted(drawn) == sorted(real)


def test_every_class_has_one_sentence() -> None:
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, MillError):
            assert kind.__doc__, name


def test_only_the_transient_ones_are_worth_another_try() -> None:
    assert errors.RateLimited.retryable
    assert not errors.BadRequest.retryable
    assert not errors.JobFailed.retryable


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ResultTimeout, TimeoutError),
        (errors.InvalidRequest, ValueError),
        (errors.InvalidRedisURL, ValueError),
    ],
)
def test_some_are_what_python_calls_them_too(kind: type[MillError], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


def test_the_fields_of_a_provider_error_are_none_where_unknown() -> None:
    error = errors.ProviderError("No.", status=429)
    assert error.status == 429
    assert (error.provider, error.code, error.retry_after_s, error.request_id) == (None,) * 4
