"""`client`, `worker` and `settings` are names that other projects have, too: no module stands in for another in
silence (docs/decisions/0016-three-generic-names.md). Imports nothing of ours, as it may be another's."""

from __future__ import annotations

import sys
from filecmp import cmp
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]
_OURS = {name: _HERE / name / "__init__.py" for name in ("client", "worker")} | {
    "settings": _HERE / "settings.py"
}
_INSTALLED = {"site-packages", "dist-packages"}  # folders that hold no project's own modules


class NameTaken(Exception):
    """A module has the name of one of ours. One sentence that says what to do."""


def refuse_others() -> None:
    """Raises NameTaken where an import of one of our three names finds a module that is not ours."""
    for name, ours in _OURS.items():
        found = _found(name)
        if found is None or not _is_same(found, ours):
            raise NameTaken(
                f"Python finds {found or 'nothing'} where promptmill's module {name!r} should be: rename that one, or "
                "start where it is not on Python's path (the working directory, PYTHONPATH)."
            )


def refuse_hidden() -> None:
    """Raises NameTaken where a project's own module has one of our three names: its jobs would import ours instead.

    To be called before modules of a project are imported, with its folder on `sys.path`.
    """
    folders = [Path(entry or ".") for entry in sys.path]
    for folder in (each for each in folders if not _INSTALLED.intersection(each.parts)):
        for name, ours in _OURS.items():
            found = _file_of(PathFinder.find_spec(name, [str(folder)]))
            if found is not None and found.suffix == ".py" and not _is_same(found, ours):
                raise NameTaken(
                    f"The modules of JOB_MODULES would import promptmill's {name!r} instead of {found}: rename that "
                    "one, or move it into a package."
                )


def _found(name: str) -> Path | None:
    loaded = sys.modules.get(name)
    return _file_of(loaded.__spec__ if loaded else find_spec(name))


def _file_of(spec: ModuleSpec | None) -> Path | None:
    """A module's file; a folder of that name without one, such as a web page's `client`, is its own place."""
    if spec is None:
        return None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return Path(places[0]).resolve() if places else None


def _is_same(found: Path, ours: Path) -> bool:
    """Whether it is ours, or a copy of it: a checkout may be the working directory of what was installed from it."""
    return found == ours or (found.is_file() and ours.is_file() and cmp(found, ours, shallow=False))
