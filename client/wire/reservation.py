"""What a job reserves: the tokens at the head of its payload, `{"n":1200,"m":400,` before all other fields.

    n   input tokens, estimated
    m   output tokens at most; 0: the mean of the model's answers; -1: none

A payload without them reserves nothing, as those of plain arq clients. The claim reads the head without parsing the
JSON (read_reservation in client/lua/names.lua): it stands first, and without a space.
"""

from __future__ import annotations


def reserving(record: bytes, input_tokens: int, output_tokens: int) -> bytes:
    """The payload of a record, which is an object as JSON."""
    return b'{"n":%d,"m":%d,' % (input_tokens, output_tokens) + record[1:]
