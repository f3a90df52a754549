"""What one check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One line of what was found, and one of what to do about it where there is anything to do."""

    check: str
    level: Level
    found: str
    advice: str | None = None


def has_failed(findings: Iterable[Finding]) -> bool:
    """Whether anything keeps promptmill from working. A warning does not, nor what cannot be known."""
    return any(finding.level == "fail" for finding in findings)
