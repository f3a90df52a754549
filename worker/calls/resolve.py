"""A model's name → the provider that serves it. Opens nothing."""

from __future__ import annotations

import httpx

from client.errors import ProviderNotConfigured
from promptmill.dialects import Provider, Route, dialect_of
from settings import ProviderSettings, Settings


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
    return Route(_open(name, known[name]), model_name)


def _open(name: str, found: ProviderSettings) -> Provider:
    key = found.key
    if not found.is_usable:
        raise ProviderNotConfigured(
            f"The provider {name!r} has no key: set {found.key_variable} on the worker.", provider=name
        )
    if key and not (key.isascii() and key.isprintable()):
        raise ProviderNotConfigured(
            f"{found.key_variable} cannot be sent: it holds characters that no HTTP header may.",
            provider=name,
        )
    try:
        return dialect_of(found.kind)(name, found.api_url, key, found.key_variable)
    except httpx.InvalidURL:
        raise ProviderNotConfigured(
            f"{found.url_variable} is not a URL that can be called.", provider=name
        ) from None
