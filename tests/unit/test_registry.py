"""`@job` without a worker: what it registers and what it refuses."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from worker import JobModuleError, job, registry


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


async def double(number: int) -> int:
    return 2 * number


def the_only_one() -> Any:
    (function,) = registry.load([])
    return function


async def test_a_coroutine_is_registered_and_stays_what_it_was() -> None:
    assert job(double) is double
    assert await double(2) == 4
    assert the_only_one().name == "double"
    assert await the_only_one().coroutine({"job_id": "1"}, 4) == 8


async def test_a_first_parameter_named_ctx_gets_the_context() -> None:
    @job
    async def of(ctx: Any, number: int) -> Any:
        return ctx["job_id"], number

    assert await the_only_one().coroutine({"job_id": "1"}, number=4) == ("1", 4)


def test_options_are_arqs_own() -> None:
    job(name="twice", timeout_s=30, max_tries=2, result_ttl_s=0)(double)
    function = the_only_one()
    assert (function.name, function.timeout_s, function.max_tries, function.keep_result_s) == (
        "twice",
        30,
        2,
        0,
    )


def test_what_is_not_said_is_left_to_the_settings() -> None:
    job(double)
    function = the_only_one()
    assert (function.timeout_s, function.max_tries, function.keep_result_s) == (None, None, None)


@pytest.mark.parametrize("thing", [lambda: 1, len, "double", partial(double, 1), object()])
def test_what_is_no_coroutine_function_is_refused(thing: Any) -> None:
    with pytest.raises(
        JobModuleError, match=r"^@job takes a coroutine function: write `async def .*`, or mark"
    ):
        job(thing)


@pytest.mark.parametrize("thing", [double, len, "double", partial(abs, 1)])
def test_what_computes_is_a_plain_function(thing: Any) -> None:
    with pytest.raises(JobModuleError, match=r"^@job\(cpu=True\) takes a plain function: write `def .*`\.$"):
        job(cpu=True)(thing)


def test_a_function_that_computes_stays_what_it_was_and_has_its_options() -> None:
    def halve(number: int) -> float:
        return number / 2

    assert job(cpu=True, timeout_s=30)(halve) is halve
    function = the_only_one()
    assert (function.name, function.compute, function.timeout_s) == ("halve", halve, 30)
    job(name="halve", cpu=True)(halve)
    with pytest.raises(JobModuleError, match=r"^Two jobs are named 'halve'"):
        job(name="halve")(double)


def test_two_jobs_of_one_name_are_refused() -> None:
    async def other() -> None:
        pass

    job(name="same")(double)
    with pytest.raises(JobModuleError, match=r"^Two jobs are named 'same', in \S+ and \S+: give one"):
        job(name="same")(other)


def test_a_module_that_is_imported_again_replaces_its_jobs() -> None:
    job(double)
    job(double)
    assert the_only_one().name == "double"


def test_modules_are_imported_and_those_that_cannot_be_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_jobs.py").write_text("from worker import job\n\n@job\nasync def found(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [function.name for function in registry.load(["some_jobs"])] == ["found"]
    with pytest.raises(
        JobModuleError, match=r"^JOB_MODULES names gone, which cannot be imported: ModuleNotFound"
    ):
        registry.load(["gone"])
    del sys.modules["some_jobs"]


async def test_a_later_parameter_named_ctx_is_the_callers() -> None:
    @job
    async def second(first: int, ctx: int) -> Any:
        return first, ctx

    assert await the_only_one().coroutine({}, 1, ctx=2) == (1, 2)
