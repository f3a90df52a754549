"""How texts are put into parts."""

from __future__ import annotations

import pytest

from settings import Settings
from worker.calls.resolve import resolve
from worker.jobs.embed_split import Part, split


def test_parts_have_no_more_texts_and_tokens_than_a_call_takes() -> None:
    assert split(["a"] * 5, items=2, tokens=100) == [(0, 2), (2, 4), (4, 5)]
    assert split(["aaaa"] * 5, items=100, tokens=4) == [(0, 2), (2, 4), (4, 5)]
    assert split(["ää"] * 3, items=100, tokens=4) == [(0, 2), (2, 3)]
    assert split(["a"], items=1, tokens=1) == [Part(0, 1)]


def test_a_text_that_is_too_long_is_a_part_by_itself() -> None:
    assert split(["a", "b" * 50, "c"], items=9, tokens=4) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("model", "items"),
    [("openai/e", 2_048), ("gemini/e", 100), ("local/e", 128)],
)
def test_each_kind_of_provider_has_its_limits(model: str, items: int) -> None:
    settings = Settings(
        _env_file=None,
        openai_api_key="k",
        gemini_api_key="k",
        providers={"local": {"base_url": "http://localhost:1/v1", "needs_key": False}},
    )
    assert resolve(settings, model).provider.embed_items == items
