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
    "client.wire": {"client.errors"},
    "client.redis": CONTRACT,
    "client.limits.rules": CONTRACT,
    "worker": {"client", "promptmill.names", "settings"},  # the wiring: it may import all of the worker
    "worker.context": {"client", "promptmill.dialects"},  # whose answers a job of one's own is given
    "worker.signals": {"client"},
    "worker.unreachable": set(),
    "worker.registry": {"worker.context"},
    "worker.limits": {"client", "settings"},
    "worker.watchdog": {"worker.context"},
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
# What is not so yet, room by room. It only gets shorter.
NOT_YET: set[tuple[str, str]] = set()
NO_CIRCLE_YET: set[tuple[str, ...]] = set()

# Packages of others, in the rooms that other projects take over or that do no I/O; where the room is a leaf of ours.
OTHERS = {
    "client": {"redis", "pydantic", "pydantic_core", "numpy"},  # the last where it is installed
    "client.arq": {"redis", "pydantic", "arq"},
    "promptmill.dialects": {"httpx", "pydantic", "pydantic_core"},  # httpx: its URL and its headers
}
IO = {
    "asyncio",
    "concurrent",
    "http",
    "os",
    "select",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}


def room_of(module: str, rooms: dict[str, set[str]] = ROWS) -> str:
    return max((room for room in rooms if within(module, room)), key=len)


def within(module: str, room: str) -> bool:
    return f"{module}.".startswith(f"{room}.")


def test_a_room_imports_only_what_its_row_names() -> None:
    strangers = {
        (module, imported)
        for module in MODULES
        for imported in ours(module)
        if not any(within(imported, room) for room in {room_of(module), *ROWS[room_of(module)]})
    }
    rooms = {(room_of(module), room_of(imported)) for module, imported in strangers}
    assert rooms - NOT_YET == set(), {each for each in strangers if tuple(map(room_of, each)) not in NOT_YET}
    assert NOT_YET - rooms == set(), "these are mended: delete them from NOT_YET"


def test_every_row_is_of_a_room() -> None:
    assert {room_of(module) for module in MODULES} == ROWS.keys()


def test_nobody_imports_in_a_circle() -> None:
    """A package that imports what is in it is no circle, as it does so to show it."""
    graph = {module: {to for to in ours(module) if not within(to, module)} for module in MODULES}
    circles = {tuple(sorted(circle)) for circle in _circles(graph)}
    assert circles - NO_CIRCLE_YET == set()
    assert NO_CIRCLE_YET - circles == set(), "these are mended: delete them from NO_CIRCLE_YET"


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
        others = {name.partition(".")[0] for name in imports(module)} - sys.stdlib_module_names - rooms.keys()
        if (room := room_of(module, rooms)) in OTHERS:
            assert others <= OTHERS[room], module


def test_the_dialects_do_no_io() -> None:
    for module in MODULES:
        if within(module, "promptmill.dialects"):
            assert not {name.partition(".")[0] for name in imports(module)} & IO, module


def test_the_client_names_itself_only_relatively() -> None:
    """So it also works under another name."""
    for module in MODULES:
        if within(module, "client"):
            for node in ast.walk(tree(module)):
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    assert not within(node.module or "", "client"), module
                elif isinstance(node, ast.Import):
                    assert not any(within(alias.name, "client") for alias in node.names), module


def test_no_module_reads_pickle() -> None:
    for module in MODULES:
        tops = {name.partition(".")[0] for name in imports(module)}
        assert not tops & {"pickle", "dill", "cloudpickle", "shelve", "marshal"}, module
