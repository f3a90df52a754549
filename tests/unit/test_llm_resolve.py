"""A model's name → the provider that serves it."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from client.errors import ProviderNotConfigured
from settings import Kind, Settings
from worker.calls.resolve import resolve

BASE = {
    "openai_api_key": "sk-1",
    "anthropic_api_key": "sk-2",
    "gemini_api_key": "sk-3",
    "default_model": "openai/gpt-4o-mini",
    "openai_base_url": "https://api.openai.com/v1",
    "anthropic_base_url": "https://api.anthropic.com/v1",
    "gemini_base_url": "https://generativelanguage.googleapis.com/v1beta",
}


def settings(**fields: Any) -> Settings:
    return Settings(_env_file=None, **{**BASE, **fields})


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("OpenAI/gpt-4o", "openai", "gpt-4o"),
        ("anthropic/claude", "anthropic", "claude"),
        ("gemini/gemini-2.5-flash", "gemini", "gemini-2.5-flash"),
        ("local/meta-llama/Llama-3", "local", "meta-llama/Llama-3"),
        ("gpt-4o", "openai", "gpt-4o"),
    ],
)
def test_the_part_before_the_first_slash_is_the_provider(model: str, provider: str, name: str) -> None:
    route = resolve(settings(providers={"LOCAL": {"base_url": "http://localhost:1/v1"}}), model)
    assert (route.provider.name, route.model) == (provider, name)
    assert str(route) == f"{provider}/{name}"


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_provider_is_spoken_to_in_the_api_of_its_kind(kind: str) -> None:
    own = {"base_url": "http://localhost:1/v1", "kind": kind}
    route = resolve(settings(providers={"mine": own}), "mine/m")
    assert type(route.provider) is type(resolve(settings(), f"{kind}/m").provider)


@pytest.mark.parametrize("address", ["https://proxy", "https://proxy/", "https://proxy/v1"])
def test_anthropics_address_may_leave_out_the_version(address: str) -> None:
    own = {"base_url": address, "kind": "anthropic"}
    chosen = settings(anthropic_base_url=address, providers={"mine": own})
    for model in ("anthropic/m", "mine/m"):
        assert resolve(chosen, model).provider.base_url == "https://proxy/v1"
    assert not chosen.all_providers()["anthropic"].needs_key
    assert settings(anthropic_base_url="https://api.anthropic.com/v1").all_providers()["anthropic"].needs_key


def test_a_name_without_a_slash_goes_to_the_default_models_provider() -> None:
    chosen = settings(default_model="anthropic/claude")
    assert resolve(chosen, "opus").provider.name == "anthropic"
    assert resolve(chosen, "ada", default_model="openai/x").provider.name == "openai"


def test_an_unknown_provider_is_refused_with_what_is_known_and_what_to_set() -> None:
    with pytest.raises(ProviderNotConfigured) as raised:
        resolve(settings(), "mistral/large")
    assert str(raised.value) == (
        "No provider 'mistral' for the model 'mistral/large': known are anthropic, gemini, openai; "
        "to add it, set PROVIDERS__MISTRAL__BASE_URL on the worker."
    )


@pytest.mark.parametrize(
    ("fields", "model", "variable"),
    [
        ({"openai_api_key": None}, "openai/x", "OPENAI_API_KEY"),
        ({"openai_api_key": " \n"}, "openai/x", "OPENAI_API_KEY"),
        ({"anthropic_api_key": None}, "anthropic/x", "ANTHROPIC_API_KEY"),
        ({"gemini_api_key": None}, "gemini/x", "GEMINI_API_KEY"),
        ({"providers": {"x": {"base_url": "http://x", "needs_key": True}}}, "x/y", "PROVIDERS__X__API_KEY"),
        (
            {"providers": {"openai": {"base_url": "http://x", "needs_key": True}}},
            "openai/y",
            "PROVIDERS__OPENAI__API_KEY",
        ),
    ],
)
def test_a_missing_key_is_named(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], model: str, variable: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    with pytest.raises(ProviderNotConfigured, match=rf"has no key: set {variable} on the worker\.$"):
        resolve(settings(**fields), model)


def test_a_key_that_no_header_can_hold_is_refused_without_being_shown() -> None:
    with pytest.raises(ProviderNotConfigured, match=r"^OPENAI_API_KEY cannot be sent") as raised:
        resolve(settings(openai_api_key="sk-clé"), "openai/x")
    assert "cl" not in str(raised.value)


def test_a_base_url_that_is_none_is_refused() -> None:
    with pytest.raises(ProviderNotConfigured, match=r"^PROVIDERS__X__BASE_URL is not a URL"):
        resolve(settings(providers={"x": {"base_url": "http://[::1"}}), "x/y")


def test_a_provider_without_a_model_is_refused() -> None:
    with pytest.raises(ProviderNotConfigured, match="has no name"):
        resolve(settings(), "openai/")
