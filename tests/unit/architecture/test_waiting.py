"""No test sleeps to wait for something: it waits for the thing itself, by `wait_until` or an event."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[2]
# Here the time itself is what is tested, or the pace of what is measured.
ALLOWED = {
    "conftest.py::wait_until": "the one poll of coroutines",
    "conftest.py::wait_blocking": "the one poll of threads",
    "engine/test_engine_outages.py::test_an_outage_loses_nothing_and_repeats_nothing": "longer than a lease",
    "unit/test_llm_streaming.py::__aiter__": "how long a host is silent",
    "server/test_engine_renew.py::test_leases_are_renewed_while_the_event_loop_is_blocked": "it blocks",
    "server/test_slots.py::test_a_call_cancelled_at_any_moment_leaves_nothing_behind": "any moment",
    "server/test_streams_readers.py::test_a_reader_that_does_not_keep_up_costs_little_and_misses_nothing": (
        "how fast a model speaks"
    ),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sleeps(function: Function) -> Iterator[tuple[str, bool]]:
    """Each sleep of a function: where it is, and whether it is how long a job or a call takes.

    That is the case in a function inside a test, unless a loop there looks for something again and again.
    `asyncio.sleep(0)` is no time.
    """
    stack: list[tuple[ast.AST, bool, bool]] = [(node, False, False) for node in function.body]
    while stack:
        node, nested, looped = stack.pop()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sleep":
            is_no_time = isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
            if not is_no_time:
                yield f"line {node.lineno}", nested and not looped
        nested = nested or isinstance(node, Function | ast.Lambda)
        looped = looped or isinstance(node, ast.While)
        stack += [(child, nested, looped) for child in ast.iter_child_nodes(node)]


def functions_of_tests() -> Iterator[tuple[str, Function]]:
    for path in sorted(TESTS.rglob("*.py")):
        if path.name.startswith("given_"):  # modules of jobs: what they take is their duration
            continue
        if path.parent == TESTS / "soak" and not path.name.startswith(
            "test_"
        ):  # how long faults last, how fast jobs come
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef):
                for child in node.body:
                    if isinstance(child, Function):
                        yield f"{path.relative_to(TESTS)}::{child.name}", child


def test_no_test_sleeps_to_wait_for_something() -> None:
    found = {
        (name, where)
        for name, function in functions_of_tests()
        for where, work in sleeps(function)
        if not work
    }
    assert {name for name, _ in found} - ALLOWED.keys() == set(), found
    assert ALLOWED.keys() - {name for name, _ in found} == set(), "nobody sleeps there any more"
