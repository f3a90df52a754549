"""Who imports whom: a row for each room. Imports that only a type checker reads count, too."""

from __future__ import annotations

import ast
import sys

from tests.unit.architecture.product import MODULES, imports, ours, tree

CONTRACT = {"client.errors", "client.wire"}
LEAVES = {"worker.context", "worker.signals", "worker.unreachable"}
# A module belongs to the longest of these names that its own begins with. It may import its own room, and what its
# row names or lies beneath that.
ROWS: dict[str, set[str]] = {
    "settings": set(),
    "client": set(),  # what stands above its rooms may import all of them
    "client.errors": set(),
    "client.words": set(),
    "client.wire": {"client.errors", "client.words"},
    "client.redis": CONTRACT,
    "client.follow": {*CONTRACT, "client.redis", "client.job_scripts"},
    "client.limits": {*CONTRACT, "client.redis", "client.words"},
    "client.limits.rules": CONTRACT,
    "worker": {"client", "promptmill.names", "settings"},  # the wiring: it may import all of the worker
    "worker.context": {"client", "promptmill.dialects"},  # whose answers a job of one's own is given
    "worker.signals": {"client"},
    "worker.unreachable": set(),
    "worker.registry": {"worker.context"},
    "worker.hooks": {"worker.registry"},
    "worker.limits": {"client", "settings"},
    "worker.watchdog": {"client.words", "worker.context"},
    "worker.engine": {"client", *LEAVES},
    "worker.calls": {*CONTRACT, "promptmill.dialects", "settings"},
    "worker.streams": {"client", "promptmill.dialects", *LEAVES},
    "worker.sdks": {"client", "worker.calls"},
    "worker.jobs": {"client", "promptmill.dialects", "settings", "worker.calls", "worker.streams", *LEAVES},
    "worker.cpu": {"client", "settings", "worker.options", "worker.limits", "worker.registry", *LEAVES},
    "promptmill": {"promptmill.cli"},
    "promptmill.names": set(),
    "promptmill.dialects": {*CONTRACT, "client.limits.rules"},
    "promptmill.cli": {"client", "promptmill.dialects", "promptmill.names", "settings"},
    "promptmill.simulator": set(),
}
# Packages of others: in the client, which is shipped alone, too, and in the dialects, which do no I/O.
OTHERS = {
    "client": {"redis", "pydantic", "pydantic_core", "numpy"},  # the last where it is installed
    "client.arq": {"redis", "pydantic", "arq"},
    "promptmill.dialects": {"httpx", "pydantic", "pydantic_core"},
}
IO = {"asyncio", "http", "os", "select", "socket", "ssl", "subprocess", "threading", "time"}
HTTPX_WITHOUT_IO = {"Headers", "InvalidURL", "URL"}
NOT_SHIPPED = {"benchmarks", "examples", "tests"}


def room_of(module: str, rooms: dict[str, set[str]] = ROWS) -> str:
    return max((room for room in rooms if within(module, room)), key=len)


def within(module: str, room: str) -> bool:
    return f"{module}.".startswith(f"{room}.")


def tops(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(module)}


def test_a_room_imports_only_what_its_row_names() -> None:
    strangers = {
        (module, imported)
        for module in MODULES
        for imported in ours(module)
        if not any(within(imported, room) for room in {room_of(module), *ROWS[room_of(module)]})
    }
    assert strangers == set()


def test_every_row_is_of_a_room() -> None:
    assert {room_of(module) for module in MODULES} == ROWS.keys()


def test_nobody_imports_in_a_circle() -> None:
    """A package that imports what is in it is no circle, as it does so to show it."""
    graph = {module: {to for to in ours(module) if not within(to, module)} for module in MODULES}
    assert _circles(graph) == set()


def _circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The largest sets of modules in which each is reached from each."""
    reached: dict[str, set[str]] = {}
    for module in graph:
        seen, ahead = set[str](), [module]
        while ahead:
            for to in graph[ahead.pop()] - seen:
                seen.add(to)
                ahead.append(to)
        reached[module] = seen
    return {
        frozenset(to for to in reached[module] if module in reached[to])
        for module in graph
        if module in reached[module]
    }


def test_a_room_needs_no_package_that_its_row_does_not_name() -> None:
    rooms = {"settings": set[str](), "worker": set[str](), "promptmill": set[str](), **OTHERS}
    for module in MODULES:
        others = tops(module) - sys.stdlib_module_names - rooms.keys()
        if (room := room_of(module, rooms)) in OTHERS:
            assert others <= OTHERS[room], module


def test_the_dialects_do_no_io() -> None:
    for module in MODULES:
        if within(module, "promptmill.dialects"):
            assert not tops(module) & IO, module
            used = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)]
            of_httpx = {
                node.attr for node in used if isinstance(node.value, ast.Name) and node.value.id == "httpx"
            }
            assert of_httpx <= HTTPX_WITHOUT_IO, module


def test_the_client_names_itself_only_relatively() -> None:
    """So it also works under another name."""
    for module in MODULES:
        if within(module, "client"):
            for node in ast.walk(tree(module)):
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    assert not within(node.module or "", "client"), module
                elif isinstance(node, ast.Import):
                    assert not any(within(alias.name, "client") for alias in node.names), module


def test_no_module_reads_pickle_or_needs_what_is_not_shipped() -> None:
    for module in MODULES:
        assert not tops(module) & {"pickle", "dill", "cloudpickle", "shelve", "marshal"}, module
        assert not tops(module) & NOT_SHIPPED, module
