"""What can go wrong around a stack."""

from __future__ import annotations


class StackError(Exception):
    """A server, worker or simulator cannot be had; `str(error)` is one sentence that says what to do next."""
