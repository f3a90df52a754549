"""Whether a model's provider is known and has its key: asked before the first call."""

from __future__ import annotations

from settings import Settings

from .options import InputError

MAX_REMEMBERED = 1_000  # distinct models whose provider need not be looked up again


class ProviderCheck:
    """For a private worker: with a fleet, the providers and their keys are the fleet's."""

    def __init__(self, settings: Settings, *, keys_needed: bool = True) -> None:
        self._providers = settings.all_providers()
        self._home = settings.default_model.partition("/")[0]
        self._keys_needed = keys_needed
        self._good: set[str] = set()

    def fault(self, model: str) -> str | None:
        """Why lines of this model cannot be sent, or None. Raises InputError where a key is missing."""
        if model in self._good:
            return None
        name, slash, rest = model.partition("/")
        name = (name if slash else self._home).lower()
        provider = self._providers.get(name)
        if provider is None or (slash and not rest):
            known = ", ".join(sorted(self._providers))
            return f"no provider is called {name!r} (model {model!r}); known are {known}."
        if self._keys_needed and not provider.is_usable:
            raise InputError(
                f"{model} needs a key: set {provider.key_variable}, or try it without one with --simulate."
            )
        if len(self._good) < MAX_REMEMBERED:
            self._good.add(model)
        return None
