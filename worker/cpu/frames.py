"""What the worker and its children write into each other's pipe: JSON records, each after its length."""

from __future__ import annotations

from typing import Any, BinaryIO

from client import decode, encode

HELLO = b"\0promptmill child is ready\n"  # the first bytes from a child; what came before is a stranger's
LENGTH_BYTES = 4


def frame(record: dict[str, Any]) -> bytes:
    """Raises Unserializable."""
    data = encode(record)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def read(pipe: BinaryIO) -> dict[str, Any] | None:
    """The next record, or None where the pipe has ended."""
    length = pipe.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        return None
    data = pipe.read(size := int.from_bytes(length, "big"))
    return decode(data) if len(data) == size else None
