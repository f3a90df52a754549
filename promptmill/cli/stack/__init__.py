"""The server, and the processes of a private stack: see `open_stack`."""

from .errors import StackError
from .opened import Stack
from .opening import is_simulated, open_stack

__all__ = ["Stack", "StackError", "is_simulated", "open_stack"]
