"""What is done in a forked child, for objects that a fork would break. A leaf."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_all: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def in_child(owner: T, do: Callable[[T], None]) -> None:
    """In every child that is forked while the owner lives, `do` is called with it, before anything else is."""
    _all[owner] = do


def _after_fork() -> None:
    for owner, do in list(_all.items()):
        do(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
