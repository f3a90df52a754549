"""A model's name → the provider that serves it. Opens nothing."""

from __future__ import annotations

import httpx

from client.errors import ProviderNotConfigured
from promptmill.dialects.anthropic.dialect import Anthropic
from promptmill.dialects.base import Provider, Route
from promptmill.dialects.gemini.dialect import Gemini
from promptmill.dialects.openai.dialect import OpenAI
from settings import BUILT_IN, ProviderSettings, Settings

_KINDS: dict[str, type[Provider]] = {"openai": OpenAI, "anthropic": Anthropic, "gemini": Gemini}


def resolve(settings: Settings, model: str, *, default_model: str | None = None) -> Route:
    """The provider and its own name for `model`.

    `provider/model` goes to that provider if it is configured (the model may hold more slashes); a name
    with no slash goes to the provider of `default_model`, by default `settings.default_model`. Raises
    ProviderNotConfigured, saying which variable to set.
    """
    name, _, model_name = model.partition("/")
    if "/" not in model:
        name, model_name = (default_model or settings.default_model).partition("/")[0], model
    name = name.lower()
    known = settings.all_providers()
    if name not in known:
        variable = f"PROVIDERS__{name.upper()}__BASE_URL"
        raise ProviderNotConfigured(
            f"No provider {name!r} for the model {model!r}: known are {', '.join(sorted(known))}; "
            f"to add it, set {variable} on the worker.",
            provider=name,
            model=model_name,
        )
    if not model_name:
        raise ProviderNotConfigured(f"The model {model!r} has no name after {name!r}.", provider=name)
    return Route(_open(settings, name, known[name]), model_name)


def _open(settings: Settings, name: str, found: ProviderSettings) -> Provider:
    is_built_in = name in BUILT_IN and name not in settings.providers
    prefix = f"{name.upper()}_" if is_built_in else f"PROVIDERS__{name.upper()}__"
    # a key pasted with its line end is the commonest way to get a header refused
    api_key = found.api_key.get_secret_value().strip() if found.api_key else None
    if found.needs_key and not api_key:
        raise ProviderNotConfigured(
            f"The provider {name!r} has no key: set {prefix}API_KEY on the worker.", provider=name
        )
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise ProviderNotConfigured(
            f"{prefix}API_KEY cannot be sent: it holds characters that no HTTP header may.", provider=name
        )
    try:
        return _KINDS[found.kind](name, found.api_url, api_key, f"{prefix}API_KEY")
    except httpx.InvalidURL:
        raise ProviderNotConfigured(
            f"{prefix}BASE_URL is not a URL that can be called.", provider=name
        ) from None
