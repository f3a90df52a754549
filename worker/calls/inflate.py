"""Packed bodies, unpacked in pieces of a bounded size: what arrives as 16 KB may be 16 MB, and hostile bodies are."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator

import httpx

ACCEPTED = "gzip, deflate"  # what we ask for; whoever else packs did not read our request
PIECE_BYTES = 64 * 1024
MAX_LAYERS = 2  # a body that is packed more often is not unpacked

_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS  # the formats, by zlib's numbers
_FORMATS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


def layers(encoding: str) -> list[Layer] | None:
    """How to unpack a body of this Content-Encoding, outermost first; None where we cannot."""
    names = [name for part in encoding.lower().split(",") if (name := part.strip()) not in ("", "identity")]
    if len(names) > MAX_LAYERS or not all(name in _FORMATS for name in names):
        return None
    return [Layer(_FORMATS[name]) for name in reversed(names)]


async def unpacked(chunks: AsyncIterable[bytes], through: list[Layer]) -> AsyncIterator[bytes]:
    """The chunks, unpacked, in pieces of PIECE_BYTES at most. Raises httpx.DecodingError."""
    async for chunk in chunks:
        for piece in _through(chunk, through):
            yield piece


def _through(chunk: bytes, through: list[Layer]) -> Iterator[bytes]:
    if not through:
        yield chunk
        return
    for piece in through[0].pieces(chunk):
        yield from _through(piece, through[1:])


class Layer:
    """One packing of a body."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._unpacker = zlib.decompressobj(wbits)
        self._has_begun = False

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """What the chunk adds. Raises httpx.DecodingError."""
        is_full = False
        while chunk or is_full:
            try:
                piece = self._unpacker.decompress(chunk, PIECE_BYTES)
            except zlib.error as error:
                if self._wbits != _ZLIB or self._has_begun:
                    raise httpx.DecodingError(str(error)) from None
                self._wbits, self._unpacker = _RAW, zlib.decompressobj(_RAW)  # "deflate" was never clear
                continue
            self._has_begun = True
            if piece:
                yield piece
            is_full = len(piece) == PIECE_BYTES
            chunk = self._unpacker.unconsumed_tail
            if self._unpacker.eof:
                chunk, is_full = self._unpacker.unused_data, False
                if self._wbits != _GZIP or not chunk.startswith(b"\x1f"):  # gzip may go on with another
                    return
                self._unpacker = zlib.decompressobj(_GZIP)
