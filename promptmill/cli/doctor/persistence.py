"""What would a restart of the server lose?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .finding import Finding

_ADVICE = "Switch on appendonly (appendfsync everysec), or choose a plan with persistence."


def check_persistence(info: Mapping[str, Any], config: Mapping[str, str]) -> Finding:
    """Append-only file, snapshots, or nothing."""
    if info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            "persistence", "fail", "the append-only file cannot be written", "Make room on its disk."
        )
    appends = config.get("appendonly", "yes" if info.get("aof_enabled") else "no") == "yes"
    if appends:
        return Finding("persistence", "ok", "append-only file: a crash loses about a second")
    save = config.get("save")
    if save is None:
        return Finding(
            "persistence", "unknown", "no append-only file; whether snapshots are taken is not told", _ADVICE
        )
    if save:
        return Finding(
            "persistence", "warn", f"snapshots only ({save}): a crash loses what came after the last", _ADVICE
        )
    return Finding("persistence", "warn", "none: a restart loses every job and every answer", _ADVICE)
