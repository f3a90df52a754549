"""What an installation brings: the packages that our code imports, and our files as they are."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

import client

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = ["client", "worker", "promptmill", "settings.py"]
NAMES = packages_distributions()
# loaded only where a user's own SDK is built on it
LOADED_ON_DEMAND = {ROOT / "worker/sdks/sdk_httpx2.py"}


def files(pattern: str) -> Iterator[Path]:
    for name in OURS:
        yield from (ROOT / name).rglob(pattern) if (ROOT / name).is_dir() else [ROOT / name]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: Iterable[str]) -> set[str]:
    return {normal(re.split(r"[\[<>=;\s]", requirement)[0]) for requirement in requirements}


def imported(tree: ast.AST) -> set[str]:
    """The packages that are not Python's and not ours, as an index names them."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(str(node.module))
    tops = {module.partition(".")[0] for module in modules}
    others = tops - sys.stdlib_module_names - {Path(name).stem for name in OURS}
    return {normal(NAMES.get(top, [top])[0]) for top in others}


def test_every_package_that_is_imported_is_declared() -> None:
    core = declared(PROJECT["dependencies"])
    extras = {name: declared(lines) for name, lines in PROJECT["optional-dependencies"].items()}
    anywhere = core.union(*(names for extra, names in extras.items() if extra not in ("dev", "bench")))
    used: set[str] = set()
    for path in files("*.py"):
        tree = ast.parse(path.read_text())
        assert imported(tree) <= anywhere, path
        if path not in LOADED_ON_DEMAND:
            always: list[ast.stmt] = [
                node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            assert imported(ast.Module(always, [])) <= core, path
        used |= imported(tree)
    assert core <= used, "declared, and imported nowhere"


def test_the_client_alone_declares_what_it_imports_and_has_promptmills_version() -> None:
    alone = tomllib.loads((ROOT / "client/pyproject.toml").read_text())["project"]
    ours = sorted((ROOT / "client").rglob("*.py"))
    used = set().union(*(imported(ast.parse(path.read_text())) for path in ours))
    assert declared(alone["dependencies"]) == used - {"arq", "numpy"}  # client/arq.py; Embeddings.numpy()
    assert "version" in alone["dynamic"]
    assert "version" in PROJECT["dynamic"]
    assert set(alone["dependencies"]) - {"redis>=5.0,<9"} <= set(PROJECT["dependencies"])


def test_there_is_one_version_and_the_changelog_has_it_under_what_is_not_released() -> None:
    assert version("promptmill") == client.__version__  # hatchling reads it from client/__init__.py
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(client.__version__)} \(\d{{4}}-\d\d-\d\d\)", headings[1])


def test_a_wheel_holds_the_files_of_the_checkout_and_none_that_an_older_build_left(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in [*OURS, "pyproject.toml", "README.md", "LICENSE", ".gitignore"]:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, checkout / name)
    stale = checkout / "build/lib/client/stale.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    subprocess.run(
        [sys.executable, "-c", "from hatchling.build import build_wheel; build_wheel('.')"],
        cwd=checkout,
        check=True,
        timeout=30,
    )
    (wheel,) = checkout.glob("*.whl")
    assert wheel.name.startswith(f"promptmill-{client.__version__}-")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {path for path in files("*") if path.is_file() and "__pycache__" not in path.parts}
    wanted -= {ROOT / "client/pyproject.toml"}
    assert held == {path.relative_to(ROOT).as_posix() for path in wanted}
