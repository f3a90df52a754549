"""Large base64 on its way past the JSON parser, which would block an event loop for 200 ms per 80 MB.

Writing, a mark stands for it in the JSON and is replaced by the text afterwards; reading, the text is cut
out first. The pieces are copied and never looked at: base64 holds nothing that JSON would escape.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from secrets import token_hex
from typing import Any

LARGE_CHARS = 64 * 1024  # what is smaller goes through the parser

# No text of a user's looks like it: within a JSON string, its quotes would be escaped
_START = re.compile(rb'[{,]"vectors":\{"dimensions":\d{1,9},"float32":"')


class Splices:
    """The pieces of one record."""

    def __init__(self) -> None:
        self._mark = ""  # what stands for a piece begins with it; unknown to whoever wrote the record
        self._pieces: list[Sequence[bytes | memoryview]] = []
        self._used = 0
        self.is_in_doubt = False  # what was cut out may have been no vectors of ours

    # -- writing -------------------------------------------------------------------------------------

    def take(self, texts: Sequence[bytes | memoryview]) -> str:
        """What is to stand in the JSON for `texts`, joined."""
        if sum(map(len, texts)) < LARGE_CHARS:
            return b"".join(texts).decode("ascii")
        return self._keep(texts)

    def put_in(self, json: bytes) -> bytes:
        """The JSON with all that was taken in its places."""
        if not self._pieces:
            return json
        parts: list[bytes | memoryview] = []
        end = 0
        for found in re.finditer(re.escape(self._mark.encode()) + rb"(\d+);", json):
            parts += (json[end : found.start()], *self._pieces[int(found[1])])
            end = found.end()
        return b"".join((*parts, json[end:]))

    # -- reading -------------------------------------------------------------------------------------

    def cut_out(self, json: bytes) -> bytes:
        """The JSON with marks in place of large vectors."""
        if len(json) < LARGE_CHARS:
            return json
        parts: list[bytes] = []
        view, end = memoryview(json), 0
        while found := _START.search(json, end):
            start, stop = found.end(), json.find(b'"', found.end())
            if stop - start < LARGE_CHARS:
                parts.append(json[end:start])
                end = start
                continue
            parts += (json[end:start], self._keep((view[start:stop],)).encode())
            end = stop
        return b"".join((*parts, json[end:])) if self._pieces else json

    def filled_in(self, value: dict[str, Any]) -> dict[str, Any]:
        """An answer with its vectors, where they were cut out."""
        vectors = value.get("vectors")
        if not self._mark or not isinstance(vectors, dict):
            return value
        text = vectors.get("float32")
        if not isinstance(text, str) or not text.startswith(self._mark):
            return value
        piece = self._pieces[int(text.removeprefix(self._mark).rstrip(";"))]
        filled = {**value, "vectors": {**vectors, "float32": piece[0]}}
        self._used += 1
        return filled

    @property
    def all_used(self) -> bool:
        return self._used == len(self._pieces) and not self.is_in_doubt

    def _keep(self, texts: Sequence[bytes | memoryview]) -> str:
        self._mark = self._mark or f"{token_hex(16)}:"
        self._pieces.append(texts)
        return f"{self._mark}{len(self._pieces) - 1};"
