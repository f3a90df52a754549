"""Vectors as they are stored: base64 of little-endian float32, 5.33 bytes a number instead of JSON's 20.

On the wire they are `{"dimensions": 1536, "float32": "…"}`, the vectors one after the other. base64's C code
keeps the GIL, so a thread alone would let nobody else run: it is fed in slices of about a millisecond each,
between which an event loop gets its turn.
"""

from __future__ import annotations

import asyncio
import sys
from array import array
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

NUMBER_BYTES = 4  # float32
SLICE_BYTES = 192 * 1024  # encoded or decoded in one go; a multiple of 3 bytes and of 4 characters

Text = bytes | memoryview  # base64, a multiple of 4 characters


class Vectors:
    """Vectors of one length, kept as text until they are asked for. Immutable."""

    __slots__ = ("_texts", "dimensions")

    def __init__(self, texts: Iterable[Text], dimensions: int) -> None:
        """`texts`, joined, are the base64. Raises ValueError where they are no whole vectors."""
        self._texts = tuple(texts)
        self.dimensions = dimensions
        if any(len(text) % 4 for text in self._texts) or dimensions < 0:
            raise ValueError("the base64 is not whole")
        if dimensions and self._size_bytes() % (dimensions * NUMBER_BYTES):
            raise ValueError(f"the numbers are no vectors of {dimensions} dimensions")

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> Self:
        """The vectors with these numbers. Raises ValueError."""
        dimensions = len(rows[0]) if rows else 0
        return cls(base64_slices(pack(row, dimensions) for row in rows), dimensions)

    @classmethod
    async def of_bytes(cls, parts: Iterable[bytes], dimensions: int) -> Self:
        """The vectors in `parts`, float32 bytes each; other tasks have their turns meanwhile."""
        texts = []
        for text in base64_slices(parts):
            texts.append(text)
            await asyncio.sleep(0)
        return cls(texts, dimensions)

    def __len__(self) -> int:
        return self._size_bytes() // (self.dimensions * NUMBER_BYTES) if self.dimensions else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vectors):
            return NotImplemented
        return self.dimensions == other.dimensions and b"".join(self._texts) == b"".join(other._texts)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:  # a view of a reply can be neither pickled nor copied
        return type(self), ((b"".join(self._texts),), self.dimensions)

    def __repr__(self) -> str:
        return f"<{len(self)} vectors of {self.dimensions} numbers>"

    def lists(self) -> list[list[float]]:
        """The numbers. Raises ValueError where the base64 is none."""
        numbers = array("f")
        numbers.frombytes(self._decoded())
        if sys.byteorder == "big":
            numbers.byteswap()
        size = self.dimensions
        return [numbers[at : at + size].tolist() for at in range(0, len(numbers), size or 1)]

    def numpy(self) -> NDArray[numpy.float32]:
        """A new array of one row a vector. Raises ImportError without numpy, ValueError as `lists`."""
        try:
            import numpy
        except ImportError:
            raise ImportError(
                "numpy is not installed: pip install 'promptmill[numpy]', or read `vectors`, which needs none."
            ) from None
        found = numpy.frombuffer(self._decoded(), dtype="<f4").reshape(len(self), self.dimensions)
        return found.astype(numpy.float32, copy=False)

    def texts(self) -> Sequence[Text]:
        """The base64, in pieces."""
        return self._texts

    def _size_bytes(self) -> int:
        return sum(len(text) // 4 * 3 - bytes(text[-2:]).count(b"=") for text in self._texts)

    def _decoded(self) -> bytearray:
        found, at = bytearray(self._size_bytes()), 0
        for text in self._texts:
            for start in range(0, len(text), SLICE_BYTES):
                try:
                    numbers = a2b_base64(text[start : start + SLICE_BYTES])
                except Base64Error as error:
                    raise ValueError(f"The vectors cannot be read: {error}.") from None
                found[at : at + len(numbers)] = numbers
                at += len(numbers)
        if at != len(found):
            raise ValueError("The vectors cannot be read: there are other characters in their base64.")
        return found

    @classmethod
    def _validated(cls, value: Any) -> Vectors:
        if isinstance(value, Vectors):
            return value
        if isinstance(value, dict) and value.keys() == {"dimensions", "float32"}:
            text, dimensions = value["float32"], value["dimensions"]
            if isinstance(text, str):
                text = text.encode("ascii", "replace")
            if isinstance(text, Text) and isinstance(dimensions, int):
                return cls((text,), dimensions)
        if isinstance(value, list | tuple) and all(isinstance(row, list | tuple) for row in value):
            return cls.of(value)
        raise ValueError("vectors are lists of numbers, or their dimensions and float32 in base64")

    def _serialized(self, info: SerializationInfo) -> Any:
        if info.mode == "python":
            return self.lists()
        put = (info.context or {}).get(CONTEXT_KEY)
        text = put(self._texts) if put else b"".join(self._texts).decode("ascii")
        return {"dimensions": self.dimensions, "float32": text}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validated,
            serialization=core_schema.plain_serializer_function_ser_schema(
                cls._serialized, info_arg=True, when_used="always"
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "object",
            "properties": {"dimensions": {"type": "integer"}, "float32": {"type": "string"}},
            "required": ["dimensions", "float32"],
        }


CONTEXT_KEY = "promptmill.texts"  # in a serialization's context: takes texts, returns what stands for them


def pack(row: Sequence[float], dimensions: int) -> bytes:
    """A vector as float32 bytes. Raises ValueError where it has other dimensions, or is not of numbers."""
    if len(row) != dimensions:
        raise ValueError(f"one vector has {len(row)} numbers, another {dimensions}")
    try:
        numbers = array("f", row)
    except TypeError:
        raise ValueError("a vector is a list of numbers") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def base64_slices(parts: Iterable[bytes]) -> Iterator[bytes]:
    """`parts`, joined, as base64 in pieces."""
    rest: list[bytes] = []
    waiting = 0  # bytes in `rest`
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(part), SLICE_BYTES):
            piece = bytes(view[start : start + SLICE_BYTES])
            rest.append(piece)
            waiting += len(piece)
            if waiting >= SLICE_BYTES:
                block = b"".join(rest)
                yield b2a_base64(block[:SLICE_BYTES], newline=False)
                rest = [block[SLICE_BYTES:]]
                waiting = len(rest[0])
    if waiting:
        yield b2a_base64(b"".join(rest), newline=False)
