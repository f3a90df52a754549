"""The server, and the processes of a private stack: see `open_stack`."""

from .open import is_simulated, open_stack
from .stack import Stack, StackError

__all__ = ["Stack", "StackError", "is_simulated", "open_stack"]
