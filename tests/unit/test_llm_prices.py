"""What a call cost."""

import sys
from datetime import UTC, datetime

import pytest

from client.schemas import Usage
from worker.llm import cost_usd, prices

USAGE = Usage(input_tokens=1000, output_tokens=100, cached_input_tokens=200)


@pytest.fixture
def genai_prices():
    return pytest.importorskip("genai_prices")


@pytest.fixture
def forget():
    prices._find.cache_clear()
    yield
    prices._find.cache_clear()


@pytest.mark.parametrize("tokens", [1_000, 250_000])
def test_every_model_costs_what_the_package_says(genai_prices, tokens):
    from genai_prices.data import providers

    ours = Usage(input_tokens=tokens, output_tokens=100, cached_input_tokens=200)
    theirs = genai_prices.Usage(input_tokens=tokens, output_tokens=100, cache_read_tokens=200)
    now, compared = datetime.now(UTC), 0
    for provider in providers:
        if provider.id not in ("openai", "anthropic", "google", "deepseek", "mistral", "groq"):
            continue
        for model in provider.models:
            cost = cost_usd(provider.id, model.id, ours)
            if cost is not None and prices._find(provider.id, model.id) is model:
                expected = model.calc_price(theirs, provider, genai_request_timestamp=now).total_price
                assert cost == pytest.approx(float(expected)), model.id
                compared += 1
    assert compared > 100


def test_a_provider_the_data_does_not_know_is_priced_by_the_models_name(genai_prices):
    known = cost_usd("openai", "gpt-4o-mini", USAGE)
    assert known
    assert cost_usd("simulator", "gpt-4o-mini", USAGE) == known
    assert cost_usd("gateway", "openai/gpt-4o-mini", USAGE) == known
    embedded = Usage(input_tokens=10, output_tokens=0)
    assert cost_usd("simulator", "text-embedding-3-small", embedded)


@pytest.mark.parametrize("usage", [Usage(), Usage(input_tokens=1), Usage(output_tokens=1)])
def test_unknown_usage_has_an_unknown_cost(usage):
    assert cost_usd("openai", "gpt-4o-mini", usage) is None


@pytest.mark.parametrize("model", ["no-such-model", "whisper-1", ""])
def test_an_unknown_price_is_none_and_not_zero(model):
    assert cost_usd("openai", model, USAGE) is None


@pytest.mark.usefixtures("forget")
def test_without_the_package_there_is_no_cost(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert cost_usd("openai", "gpt-4o-mini", USAGE) is None
