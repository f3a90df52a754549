"""Which of many texts a refusal is about. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from client.errors import BadRequest, ContentFiltered, ContextTooLong, JobError

from .embed_split import Part

_ABOUT_A_TEXT = (BadRequest, ContentFiltered, ContextTooLong)
_PLACE = re.compile(
    r"\b(?:input|inputs|texts|requests)[.\[]+(\d+)"
)  # as a provider names it, within its call


def locate(error: JobError, texts: Sequence[str], part: Part) -> None:
    """Has the error of a part tell the place of its text among all `texts`, from 0: the one that the provider names,
    or else the part, and the longest text in it. Of an error that is about no text, it tells nothing."""
    if not isinstance(error, _ABOUT_A_TEXT) or error.details.get("sent") is False or len(texts) == 1:
        return
    named = _PLACE.search(error.message)
    at = part.start + int(named[1]) if named else part.start
    if part.end - part.start == 1 or (named and at < part.end):
        said = f"It is about text {at:,}, counted from 0, of {len(texts[at]):,} characters."
    else:
        at = max(range(part.start, part.end), key=lambda n: len(texts[n]))
        said = f"It is about one of the texts {part.start:,} to {part.end - 1:,}, counted from 0, of which text {at:,} "
        said += f"is the longest: {len(texts[at]):,} characters."
    error.message = f"{error.message} {said}"
    error.args = (error.message,)
    error.details |= {"text": at, "texts": [part.start, part.end]}
