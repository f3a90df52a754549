"""What the figures were measured on, and with which versions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

from promptmill.cli.stack.embedded import find_server


def describe(packages: Iterable[str]) -> dict[str, Any]:
    """The machine, the server and the versions of `packages`."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_1_min": round(os.getloadavg()[0], 2),
        "loop_ms": round(_loop_ms(), 1),
        "python": platform.python_version(),
        "server": _server(),
        "packages": {name: _version(name) for name in dict.fromkeys(packages)},
    }


def _loop_ms() -> float:
    """A million additions: tells a slow minute of a shared machine from a slow program."""
    begun_s, total = perf_counter(), 0
    for number in range(1_000_000):
        total += number
    return 1000 * (perf_counter() - begun_s)


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or "unknown"


def _server() -> str:
    says = subprocess.run(
        [find_server(), "--version"], capture_output=True, text=True, check=False, timeout=10
    )
    found = re.search(r"v=(\S+)", says.stdout)
    return f"{says.stdout.split(' ')[0]} {found[1] if found else '?'}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
