"""Does each provider answer, and does it take the key?"""

from __future__ import annotations

import asyncio

import httpx

from client.errors import AuthenticationFailed, PermissionRefused
from client.wire.refusals import BY_STATUS
from promptmill.dialects import dialect_of
from promptmill.dialects.address import address
from settings import ProviderSettings, Settings

from .checks import Finding

TIMEOUT_S = 5


async def check_providers(settings: Settings) -> list[Finding]:
    """One finding for each provider that has a key or needs none; all are asked at once."""
    default = settings.default_model.partition("/")[0]
    providers = settings.all_providers()
    asked = {name: provider for name, provider in providers.items() if provider.is_usable}
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        answers = await asyncio.gather(*(_ask(client, provider) for provider in asked.values()))
    findings = [judge(name, asked[name], answer) for name, answer in zip(asked, answers, strict=True)]
    return findings if default in asked else [*findings, missing(default, providers.get(default))]


def judge(name: str, provider: ProviderSettings, answer: int | str) -> Finding:
    """An HTTP status, or the name of the error there was instead of an answer."""
    check = f"provider {name}"
    if isinstance(answer, str):
        return Finding(
            check, "fail", f"unreachable ({answer})", "Check its base URL, the network and the proxy."
        )
    if BY_STATUS.get(answer) in (AuthenticationFailed, PermissionRefused):
        if not provider.key:
            return Finding(check, "fail", f"wants a key (status {answer})", f"Set {provider.key_variable}.")
        return Finding(check, "fail", f"key refused (status {answer})", f"Check {provider.key_variable}.")
    if answer >= 500 or answer == 429:
        return Finding(
            check, "warn", f"reached, but not well (status {answer})", "Try again; see its status page."
        )
    if answer >= 300:
        return Finding(
            check,
            "warn",
            f"reached, but it lists no models (status {answer})",
            f"Check {provider.url_variable}: an address ends in its version, as a rule /v1.",
        )
    if not provider.key:
        return Finding(check, "ok", "reached, without a key")
    return Finding(check, "ok", "reached, and it takes the key")


def missing(name: str, provider: ProviderSettings | None) -> Finding:
    """DEFAULT_MODEL names a provider that cannot be called, or none."""
    if provider:
        return Finding(
            f"provider {name}",
            "fail",
            "no key, though DEFAULT_MODEL names it",
            f"Set {provider.key_variable}, or try without one: `promptmill ask --simulate hello`.",
        )
    advice = f"Set PROVIDERS__{name.upper()}__BASE_URL, or another DEFAULT_MODEL."
    return Finding(f"provider {name}", "fail", "unknown, though DEFAULT_MODEL names it", advice)


async def _ask(client: httpx.AsyncClient, provider: ProviderSettings) -> int | str:
    dialect = dialect_of(provider.kind)
    try:
        response = await client.get(
            address(provider.api_url, "/models"), headers=dialect.key_headers(provider.key)
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__
    return 401 if response.status_code == dialect.bad_key_status else response.status_code
