"""The other queues, each in a file of its own: its worker's command, its jobs, its client.

A file here is imported by us and by the peer's own CLI. Objects that need the server's URL are made when
the CLI asks the module for them (`__getattr__`), from the environment that benchmarks/stage.py sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from benchmarks.system import System

NAMES = ("arq", "saq", "saq+uvloop", "taskiq+uvloop", "streaq+uvloop", "docket", "celery", "dramatiq")


def find(names: Sequence[str]) -> tuple[list[System], dict[str, str]]:
    """The systems of these names, and for those that cannot be imported the reason."""
    found, absent = [], {}
    for name in names:
        module = name.partition("+")[0]
        try:
            systems: tuple[System, ...] = import_module(f"{__name__}.{module}").SYSTEMS
            found += [system for system in systems if system.name == name]
        except Exception as error:  # whatever a peer's import raises is a reason
            absent[name] = f"{type(error).__name__}: {error}"
    return found, absent
