"""What a check says: its name, whether it holds, and one sentence of evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    holds: bool
    evidence: str

    def __str__(self) -> str:
        return f"{'ok' if self.holds else 'FAIL':<5} {self.name:<14} {self.evidence}"


def found(name: str, wrong: Sequence[str], looked_at: str) -> Finding:
    """Holds where nothing is wrong. The evidence shows the first three."""
    if not wrong:
        return Finding(name, True, f"{looked_at}.")
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return Finding(name, False, f"{looked_at}: {len(wrong)} wrong: {'; '.join(wrong[:3])}{more}.")
