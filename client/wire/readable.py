"""What is written can be read back: JSON knows no NaN and no infinity, and its reader bounds depth and digits."""

from __future__ import annotations

from pydantic_core import from_json

from ..errors import Unserializable

MAX_LEVELS = 200  # of lists and objects within one another; where the reader stops
MAX_DIGITS = 4_300  # of a number; where the reader stops
TOO_DEEP = (
    f"This is nested too deeply: at most {MAX_LEVELS} lists and objects may stand within one another, "
    "those of the record around it among them."
)
_TOO_LONG = f"A number in this has more than {MAX_DIGITS:,} digits: send it as a text."
_NOT_FINITE = "NaN and infinity are no JSON: leave such a number out, or send null or a text."
_BLOCK_DIGITS = (
    MAX_DIGITS // 2
)  # a number that is too long fills a block of so many bytes, wherever it begins


def check_readable(json: bytes) -> None:
    """Raises Unserializable where the reader would refuse it. Reads only what gives reason to doubt."""
    if not (
        b"NaN" in json
        or b"Infinity" in json
        or (len(json) >= 2 * MAX_LEVELS and _is_doubtful(json))  # each level has a bracket at both ends
    ):
        return
    try:
        from_json(json, allow_inf_nan=False)
    except ValueError as error:
        reason = str(error)
        if reason.startswith("recursion limit"):
            raise Unserializable(TOO_DEEP) from None
        raise Unserializable(_TOO_LONG if reason.startswith("number out of range") else _NOT_FINITE) from None


def _is_doubtful(json: bytes) -> bool:
    is_deep = json.count(b"{") + json.count(b"[") >= MAX_LEVELS
    return is_deep or (len(json) > MAX_DIGITS and _has_long_number(json))


def _has_long_number(json: bytes) -> bool:
    return any(json[at : at + _BLOCK_DIGITS].isdigit() for at in range(0, len(json), _BLOCK_DIGITS))
