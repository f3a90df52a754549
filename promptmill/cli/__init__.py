"""The commands: `promptmill`, or `python -m promptmill`."""

from .main import main

__all__ = ["main"]
