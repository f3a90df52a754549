"""No file, and no function, is longer than a reader can hold. The scripts of Lua: tests/unit/test_lua.py."""

from __future__ import annotations

import ast

from tests.unit.architecture.product import FILES, MODULES, Function, tree

FILE_LINES = 300
FUNCTION_LINES = 40


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    assert [path for path in FILES if len(path.read_text().splitlines()) > FILE_LINES] == []


def test_no_function_is_longer_than_a_reader_can_hold() -> None:
    lines = [
        (f"{module}.{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, Function)
    ]
    assert [(name, count) for name, count in lines if count > FUNCTION_LINES] == []
