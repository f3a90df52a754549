"""What a call cost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from client.wire.schemas import Usage
from worker.calls import OwnPrices, PriceFileError, cost_usd, per_token_usd, prices, read_prices

USAGE = Usage(input_tokens=1000, output_tokens=100, cached_input_tokens=200)


@pytest.fixture
def genai_prices() -> Any:
    return pytest.importorskip("genai_prices")


@pytest.fixture
def forget() -> Iterator[None]:
    prices._find.cache_clear()
    yield
    prices._find.cache_clear()


@pytest.mark.parametrize("tokens", [1_000, 250_000])
def test_every_model_costs_what_the_package_says(genai_prices: Any, tokens: int) -> None:
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


def test_what_is_written_to_a_cache_costs_what_the_package_says(genai_prices: Any) -> None:
    from genai_prices.data import providers

    ours = Usage(input_tokens=1_000, output_tokens=100, cached_input_tokens=200, cache_write_tokens=300)
    told = {"input_tokens": 1_000, "output_tokens": 100, "cache_read_tokens": 200, "cache_write_tokens": 300}
    now, compared = datetime.now(UTC), 0
    for provider in providers:
        for model in provider.models if provider.id == "anthropic" else ():
            cost = cost_usd(provider.id, model.id, ours)
            if cost is not None and prices._find(provider.id, model.id) is model:
                theirs = model.calc_price(genai_prices.Usage(**told), provider, genai_request_timestamp=now)
                assert cost == pytest.approx(float(theirs.total_price)), model.id
                compared += 1
    assert compared > 5


def test_a_provider_the_data_does_not_know_is_priced_by_the_models_name(genai_prices: Any) -> None:
    known = cost_usd("openai", "gpt-4o-mini", USAGE)
    assert known
    assert cost_usd("simulator", "gpt-4o-mini", USAGE) == known
    assert cost_usd("gateway", "openai/gpt-4o-mini", USAGE) == known
    embedded = Usage(input_tokens=10, output_tokens=0)
    assert cost_usd("simulator", "text-embedding-3-small", embedded)


@pytest.mark.parametrize("usage", [Usage(), Usage(input_tokens=1), Usage(output_tokens=1)])
def test_unknown_usage_has_an_unknown_cost(usage: Usage) -> None:
    assert cost_usd("openai", "gpt-4o-mini", usage) is None


@pytest.mark.parametrize("model", ["no-such-model", "whisper-1", ""])
def test_an_unknown_price_is_none_and_not_zero(model: str) -> None:
    assert cost_usd("openai", model, USAGE) is None


@pytest.mark.usefixtures("forget")
def test_without_the_package_there_is_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert cost_usd("openai", "gpt-4o-mini", USAGE) is None


OWN = """
["openai/gpt-4o"]
input_usd_per_mtok = 2
output_usd_per_mtok = 10.0
cached_input_usd_per_mtok = 1
cache_write_usd_per_mtok = 3

["Local/a/b"]
input_usd_per_mtok = 4
"""


@pytest.fixture
def own(tmp_path: Path) -> OwnPrices:
    file = tmp_path / "prices.toml"
    file.write_text(OWN)
    return read_prices(str(file))


@pytest.mark.parametrize(("model", "asked"), [("gpt-4o", None), ("gpt-4o-2024-08-06", "gpt-4o")])
def test_a_price_of_ones_own_wins_by_the_name_that_answered_or_was_asked(
    own: OwnPrices, model: str, asked: str | None
) -> None:
    cost = cost_usd("openai", model, USAGE, asked=asked, own=own)
    assert cost == pytest.approx((800 * 2 + 200 * 1 + 100 * 10) / 1e6)


def test_a_price_of_ones_own_may_have_a_price_for_writing_the_cache(own: OwnPrices) -> None:
    usage = Usage(input_tokens=1_000, output_tokens=0, cached_input_tokens=200, cache_write_tokens=300)
    assert cost_usd("openai", "gpt-4o", usage, own=own) == pytest.approx((500 * 2 + 200 * 1 + 300 * 3) / 1e6)
    assert cost_usd("local", "a/b", usage, own=own) == pytest.approx(1_000 * 4 / 1e6)


def test_without_a_price_for_cached_input_it_costs_what_other_input_does(own: OwnPrices) -> None:
    assert cost_usd("local", "a/b", USAGE, own=own) == pytest.approx(1000 * 4 / 1e6)
    assert per_token_usd("local", "a/b", own=own) == pytest.approx((4e-6, 0.0))


def test_a_name_that_only_the_caller_knows_is_priced_by_the_name_it_asked_for(genai_prices: Any) -> None:
    known = cost_usd("openai", "gpt-4o-mini", USAGE)
    assert cost_usd("openai", "no-such-model", USAGE, asked="gpt-4o-mini") == known


def test_the_price_of_a_token_is_that_of_a_call_of_one_token(genai_prices: Any) -> None:
    read, written = per_token_usd("openai", "gpt-4o-mini") or (None, None)
    assert read == cost_usd("openai", "gpt-4o-mini", Usage(input_tokens=1, output_tokens=0))
    assert written == cost_usd("openai", "gpt-4o-mini", Usage(input_tokens=0, output_tokens=1))
    assert (per_token_usd("openai", "text-embedding-3-small") or (None, None))[1] == 0
    assert per_token_usd("openai", "no-such-model") is None
    assert per_token_usd("openai", "whisper-1") is None


def test_without_a_file_there_are_no_prices_of_ones_own() -> None:
    assert read_prices(None) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"[", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b"x = 1", "valid dictionary"),
        (b'["gpt-4o"]\ninput_usd_per_mtok = 1', "'gpt-4o' is not provider/model"),
        (b'["a/b"]\ninput_usd_per_mtok = -1', "a/b.input_usd_per_mtok: Input should be greater than"),
        (b'["a/b"]\ninput_usd_per_mtok = nan', "a/b.input_usd_per_mtok"),
        (b'["a/b"]\ninput = 1', "Field required"),
        (b'["a/b"]\ninput_usd_per_mtok = 1\nfree = true', "a/b.free"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, text: bytes, reason: str
) -> None:
    file = tmp_path / "prices.toml"
    file.write_bytes(text)
    with pytest.raises(PriceFileError) as refusal:
        read_prices(str(file))
    assert str(refusal.value).startswith(f"PRICES_FILE cannot be used: {file}")
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(PriceFileError, match=r"nowhere\.toml: No such file or directory\.$"):
        read_prices("nowhere.toml")
