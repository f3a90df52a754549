"""Prices of one's own, from a TOML file (PRICES_FILE): they win over the bundled list prices.

["openai/gpt-4o"]
input_usd_per_mtok = 2.5            # US dollars per million tokens
output_usd_per_mtok = 10
cached_input_usd_per_mtok = 1.25    # left out, cached input costs what other input does
cache_write_usd_per_mtok = 3.125    # left out, so does input that is written to the cache
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from promptmill.dialects import summarise

Price = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class OwnPrice(BaseModel):
    """What a model costs, in US dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_usd_per_mtok: Price
    output_usd_per_mtok: Price = Decimal(0)  # embeddings have no output
    cached_input_usd_per_mtok: Price | None = None
    cache_write_usd_per_mtok: Price | None = None


OwnPrices: TypeAlias = Mapping[str, OwnPrice]  # by provider/model, the provider in lower case

_FILE = TypeAdapter(dict[str, OwnPrice])


class PriceFileError(Exception):
    """PRICES_FILE cannot be used. One sentence."""


def read_prices(path: str | None) -> OwnPrices:
    """The prices in the file at `path`; none without a path. Raises PriceFileError."""
    if path is None:
        return {}
    try:
        prices = _FILE.validate_python(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise PriceFileError(f"PRICES_FILE cannot be used: {path}: {error.strerror}.") from None
    except ValidationError as error:
        raise PriceFileError(f"PRICES_FILE cannot be used: {path}: {summarise(error)}.") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise PriceFileError(f"PRICES_FILE cannot be used: {path} is not TOML: {error}.") from None
    return {_routed(name, path): price for name, price in prices.items()}


def _routed(name: str, path: str) -> str:
    provider, slash, model = name.partition("/")
    if not slash or not provider or not model:
        raise PriceFileError(
            f'PRICES_FILE cannot be used: {path}: {name!r} is not provider/model; write ["openai/gpt-4o"].'
        )
    return f"{provider.lower()}/{model}"
