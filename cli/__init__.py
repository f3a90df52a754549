"""The commands: `promptmill`, or `python -m cli`."""

from .main import main

__all__ = ["main"]
