"""The product's modules, and what each imports: type-only imports, and those inside functions, too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parents[3]
PACKAGES = ("client", "worker", "promptmill")
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    _name(path): path
    for path in [ROOT / "settings.py", *(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))]
}
FILES = sorted([*MODULES.values(), *(path for name in PACKAGES for path in (ROOT / name).rglob("*.lua"))])


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


@cache
def imports(module: str) -> frozenset[str]:
    """The modules that it imports, ours and others'."""
    return frozenset(_imported(module))


def _imported(module: str) -> Iterator[str]:
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= package.count(".") + 1, f"{module} imports from outside of its package"
            around = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            source = ".".join([*around, *([node.module] if node.module else [])])
            for alias in node.names:
                named = f"{source}.{alias.name}"
                yield named if named in MODULES else source


def ours(module: str) -> set[str]:
    """Those of the product's modules that it imports."""
    return {name for name in imports(module) if name in MODULES and name != module}
