"""`promptmill doctor`: facts are gathered (probe.py), judged by pure functions, and printed."""

from .command import doctor

__all__ = ["doctor"]
