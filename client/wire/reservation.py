"""What a job reserves: the tokens at the head of its payload, `{"n":1200,"m":400,` before all other fields, and
whether it has another way: `{"n":1200,"m":400,"o":2,`.

    n   input tokens, estimated
    m   output tokens at most; 0: the mean of the model's answers; -1: none
    o   how many other models it can go on to; not there where there is none

A payload without them reserves nothing, as those of plain arq clients. The claim reads the head without parsing the
JSON (read_reservation in client/lua/names.lua): it stands first, and without a space.
"""

from __future__ import annotations

# How long a job that has another way is held up by its model: this, or so small a share of its life, if that is less
FALLBACK_AFTER_MS = 15_000
FALLBACK_LIFE_SHARE = 4


def reserving(record: bytes, input_tokens: int, output_tokens: int, others: int = 0) -> bytes:
    """The payload of a record, which is an object as JSON."""
    more = b'"o":%d,' % others if others else b""
    return b'{"n":%d,"m":%d,%b' % (input_tokens, output_tokens, more) + record[1:]
