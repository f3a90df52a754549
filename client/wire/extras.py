"""`extra` of a request: fields of the provider's own, for whom each is, and which cannot be in it. Pure.

    extra={"top_k": 20}                        to the first model, and to providers that speak as its own does
    extra={"openai/reasoning_effort": "low"}   to the provider of that name, and to no other
    extra={"@anthropic/thinking": {…}}         to the providers that speak as Anthropic does

What the request has a field of its own for is given there. So is the limit of tokens, which has two names at OpenAI
and a third at Google: by whatever name it comes, it is `max_tokens`, once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_LIMITS = ("max_tokens", "max_completion_tokens")
_OF_GOOGLE = ("maxOutputTokens",)  # in its generationConfig

# What makes another thing of an answer than one message, or of the request than its fields say
_CHAT = frozenset(
    {"best_of", "contents", "input", "prompt", "system", "systemInstruction", "system_instruction"}
)
_EMBED = frozenset({"content", "contents", "input", "requests", "stream"})
_COUNTS = ("n", "candidateCount", "candidate_count", "num_return_sequences")  # of answers
_CODINGS = (None, "float", "base64")  # of vectors, that can be read


def one_limit(fields: Any) -> Any:
    """The fields of a ChatRequest with the limit of tokens under one name: the smallest, where there are several."""
    if not isinstance(fields, dict):
        return fields
    extra = fields.get("extra")
    if not extra and "max_completion_tokens" not in fields:
        return fields
    config = extra.get("generationConfig") if isinstance(extra, dict) else None
    places = [
        (place, names)
        for place, names in ((fields, _LIMITS), (extra, _LIMITS), (config, _OF_GOOGLE))
        if place
    ]
    given = [
        place[name] for place, names in places if isinstance(place, dict) for name in names if name in place
    ]
    if not given or (len(given) == 1 and "max_tokens" in fields):
        return fields
    rest = _without(fields, _LIMITS)
    if isinstance(extra, dict):
        rest["extra"] = _without(extra, _LIMITS)
    if isinstance(config, dict):
        rest["extra"]["generationConfig"] = _without(config, _OF_GOOGLE)
    limits = [limit for limit in given if limit is not None]
    numbers = [limit for limit in limits if isinstance(limit, int)]
    return {**rest, "max_tokens": min(numbers) if numbers == limits != [] else next(iter(limits), None)}


def fault_of_chat(extra: Mapping[str, Any], own: Collection[str]) -> str | None:
    """What in the `extra` of a chat cannot be there, `own` being the fields of the request; None for nothing."""
    config = extra.get("generationConfig")
    inner = config.items() if isinstance(config, dict) else ()
    for name, value in (*_fields(extra), *inner):
        if name in _COUNTS and value not in (None, 1):
            return f"it cannot ask for several answers ({name}): send the request once for each"
        if name in own or name in _CHAT or name in _LIMITS:
            return _belongs(name, own)
    return None


def fault_of_embed(extra: Mapping[str, Any], own: Collection[str]) -> str | None:
    """As `fault_of_chat`, of an embedding."""
    for name, value in _fields(extra):
        if name == "encoding_format" and value not in _CODINGS:
            return "its encoding_format can be float or base64"
        if name in own or name in _EMBED:
            return _belongs(name, own)
    return None


def extra_for(extra: Mapping[str, Any], provider: str, kind: str) -> dict[str, Any]:
    """The fields for a provider that speaks as `kind` says, by the provider's own names. A null is as if absent, but
    for `stream_options`, which it takes away."""
    fields: dict[str, Any] = {}
    for scopes in (("",), (f"@{kind}",), (provider,)):  # the closest stands
        for name, value in extra.items():
            scope, _, own = name.rpartition("/")
            if scope in scopes and (value is not None or own == "stream_options"):
                fields[own] = value
    return fields


def scoped(extra: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The same, before it goes on to another model: what names nobody was written for such as speak as `kind`."""
    return {name if "/" in name else f"@{kind}/{name}": value for name, value in extra.items()}


def _without(fields: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _fields(extra: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name.rpartition("/")[2], value) for name, value in extra.items()]


def _belongs(name: str, own: Collection[str]) -> str:
    if name in own:
        return f"it cannot hold {name}, which is a field of the request: give it there"
    return f"it cannot hold {name}: give it by the request's own fields"
