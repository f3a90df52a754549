"""One name, one thing: classes, what a door shows, and the names of keys."""

from __future__ import annotations

import ast
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.architecture.product import FILES, MODULES, ROOT, tree

# what a door shows without importing it before it is asked for
LAZY = {
    "Context",
    "CpuWorkerSettings",
    "WorkerSettings",
    "arq_pool",
    "http_client",
    "httpx2_client",
    "redis_settings",
}
# The first makes every key; the other knows a fencing token of ours, 'mill:…', from arq's.
MAKE_NAMES = {"client/wire/keys.py", "client/lua/names.lua"}
KEY = re.compile(r"\W*(?:mill|arq):(?! )")  # at the beginning of a text; 'promptmill: an error' is none


def test_names_of_keys_come_from_a_connection() -> None:
    """Not from the plain table, which is another installation's where the URL names a namespace."""
    assert {module for module in MODULES if "KEYS" in tree_names(module)} == {"client", "client.wire.keys"}


def test_tests_of_the_server_take_its_names() -> None:
    """They run in a namespace, too (make test-slots)."""
    texts = {path.name: path.read_text() for path in (ROOT / "tests" / "server").glob("*.py")}
    assert [name for name, text in texts.items() if re.search(r"wire\.keys import .*\bKEYS\b", text)] == []


def tree_names(module: str) -> set[str]:
    nodes = list(ast.walk(tree(module)))
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return imported | {node.id for node in nodes if isinstance(node, ast.Name)}


def test_a_public_class_has_a_name_of_its_own() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(module)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


@pytest.mark.parametrize("package", ["client", "worker", "promptmill.simulator"])
def test_all_names_what_the_door_shows(package: str) -> None:
    door = importlib.import_module(package)
    shown = {
        alias.asname or alias.name
        for node in tree(package).body
        if isinstance(node, ast.ImportFrom) and node.module not in ("typing", "__future__")
        for alias in node.names
    }
    lazy = set(door.__all__) - shown
    assert shown - set(door.__all__) == set()
    assert lazy <= LAZY, lazy
    assert list(door.__all__) == sorted(door.__all__, key=lambda name: (name[0].islower(), name))


def literals(path: Path) -> Iterator[str]:
    """The texts in a file's code."""
    if path.suffix == ".lua":
        code = re.sub("--.*", "", path.read_text())
        yield from (double or single for double, single in re.findall(r""""(.*?)"|'(.*?)'""", code))
    else:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                yield node.value if isinstance(node.value, str) else node.value.decode(errors="replace")


def test_the_name_of_a_key_is_made_in_one_place() -> None:
    makers = {str(path.relative_to(ROOT)) for path in FILES if any(map(KEY.match, literals(path)))}
    assert makers == MAKE_NAMES


def test_no_code_of_ours_lists_all_keys() -> None:
    for path in FILES:
        assert not re.search(r"""\.keys\(\s*["'*]|(?:call|cmd)\(\s*["']KEYS["']""", path.read_text()), path
