"""Does each provider answer, and does it take the key?"""

from __future__ import annotations

import asyncio

import httpx

from settings import BUILT_IN, ProviderSettings, Settings

from .finding import Finding

TIMEOUT_S = 5
ANTHROPIC_VERSION = "2023-06-01"


async def check_providers(settings: Settings) -> list[Finding]:
    """One finding for each provider that has a key or needs none; all are asked at once."""
    default = settings.default_model.partition("/")[0]
    providers = settings.all_providers()
    asked = {name: provider for name, provider in providers.items() if _is_usable(provider)}
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        answers = await asyncio.gather(*(_ask(client, provider) for provider in asked.values()))
    findings = [judge(name, answer) for name, answer in zip(asked, answers, strict=True)]
    return findings if default in asked else [*findings, missing(default, known=default in providers)]


def judge(name: str, answer: int | str) -> Finding:
    """An HTTP status, or the name of the error there was instead of an answer."""
    check, variable = f"provider {name}", _key_variable(name)
    if isinstance(answer, str):
        return Finding(
            check, "fail", f"unreachable ({answer})", "Check its base URL, the network and the proxy."
        )
    if answer in (401, 403):
        return Finding(check, "fail", f"key refused (status {answer})", f"Check {variable}.")
    if answer >= 500 or answer == 429:
        return Finding(
            check, "warn", f"reached, but not well (status {answer})", "Try again; see its status page."
        )
    if answer >= 300:
        return Finding(
            check, "warn", f"reached, but it lists no models (status {answer})", "Check its base URL."
        )
    return Finding(check, "ok", "reached, and it takes the key")


def missing(name: str, *, known: bool) -> Finding:
    """DEFAULT_MODEL names a provider that cannot be called."""
    if known:
        return Finding(
            f"provider {name}",
            "fail",
            "no key, though DEFAULT_MODEL names it",
            f"Set {_key_variable(name)}, or try without one: `promptmill ask --simulate hello`.",
        )
    advice = f"Set PROVIDERS__{name.upper()}__BASE_URL, or another DEFAULT_MODEL."
    return Finding(f"provider {name}", "fail", "unknown, though DEFAULT_MODEL names it", advice)


async def _ask(client: httpx.AsyncClient, provider: ProviderSettings) -> int | str:
    try:
        response = await client.get(f"{provider.api_url}/models", headers=_headers(provider))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__
    if provider.kind == "gemini" and response.status_code == 400:  # what Google says of a wrong key
        return 401
    return response.status_code


def _headers(provider: ProviderSettings) -> dict[str, str]:
    key = provider.api_key.get_secret_value() if provider.api_key else ""
    if provider.kind == "anthropic":
        return {"x-api-key": key, "anthropic-version": ANTHROPIC_VERSION} if key else {}
    if provider.kind == "gemini":
        return {"x-goog-api-key": key} if key else {}
    return {"authorization": f"Bearer {key}"} if key else {}


def _is_usable(provider: ProviderSettings) -> bool:
    return provider.api_key is not None or not provider.needs_key


def _key_variable(name: str) -> str:
    if name in BUILT_IN:
        return f"{name.upper()}_API_KEY"
    return f"PROVIDERS__{name.upper()}__API_KEY"
