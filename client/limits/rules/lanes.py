"""A job's model, tenant and so on → the name of its lane (client/wire/lane.py). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

from ...errors import InvalidRequest

Kind: TypeAlias = Literal["chat", "embed"]

MAX_KEY_CHARS = 256
MAX_LIMITS = 16  # of the user's own on one job: each is looked at whenever the job's lane has its turn

_MODELS = 256  # whose lanes are remembered; callers choose the models

_NOT_IN_A_KEY = re.compile(r"[|,=@!*]")
_KEY = re.compile(rf"[^\s|,=@!*\ud800-\udfff]{{1,{MAX_KEY_CHARS}}}")


@lru_cache(_MODELS)
def model_part(model: str | None, kind: Kind) -> str:
    """What a lane's name begins with: the model, its provider in lower case, or an alias."""
    if model is None:
        return f"@{kind}"
    provider, slash, name = _checked("model", model_key(model)).partition("/")
    return f"{provider.lower()}/{name}" if slash else f"@{kind}/{provider}"


def model_key(model: str) -> str:
    """The limit key of a model: `vertex/claude@20250929` is limited as `vertex/claude-20250929`."""
    return _NOT_IN_A_KEY.sub("-", model)[:MAX_KEY_CHARS]


def place(
    tenant: str | None = None,
    conversation: str | None = None,
    limits: Sequence[str] = (),
    lane: str | None = None,
) -> tuple[str, ...]:
    """The parts after the model, which are all there is where a job names no model."""
    own = [limits] if isinstance(limits, str) else limits
    if len(own) > MAX_LIMITS:
        raise InvalidRequest(f"A job can have {MAX_LIMITS} limits of its own, not {len(own)}.")
    parts = [] if tenant is None else [checked_key(f"tenant:{_checked('tenant', tenant)}")]
    if conversation is not None:
        parts.append(checked_key(f"conversation:{_checked('conversation', conversation)}"))
    parts += map(checked_key, own)
    if lane is not None:
        parts.append(_checked("lane", lane))
    return tuple(parts)


def joined(*parts: str) -> str:
    """The name made of these parts, each once."""
    return "|".join(dict.fromkeys(parts))


def checked_key(name: str) -> str:
    """`name`, or InvalidRequest where it cannot be a limit key."""
    return _checked("limit key", name)


def _checked(what: str, name: str) -> str:
    if not isinstance(name, str) or not _KEY.fullmatch(name):
        raise InvalidRequest(
            f"A {what} is a name of 1 to {MAX_KEY_CHARS} characters, without spaces and | , = @ ! *, "
            f"not {name!r}."
        )
    return name
