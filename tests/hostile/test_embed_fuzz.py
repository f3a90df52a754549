"""Whatever comes where vectors should: one of one length for each text, in their order, or a typed error."""

from __future__ import annotations

import asyncio
import math
from base64 import b64encode
from collections.abc import Sequence
from struct import pack, unpack
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import errors
from client.wire.schemas import EmbedRequest
from tests.hostile.bodies import ODD_VALUES, SIZES, bent, changed, cut, loose
from tests.hostile.given_hostile import SOME, is_decent, saying
from worker.calls import LLM
from worker.jobs.embed_run import packed

TEXTS = ["a", "b", "c"]
Vectors: TypeAlias = Sequence[tuple[float, ...]]


def in_base64(numbers: Sequence[float]) -> str:
    return b64encode(pack(f"<{len(numbers)}f", *numbers)).decode()


ODD_VECTORS: list[Any] = [
    *([], [1.0], [1.0, 2.0, 3.0], [None, 1.0], ["1", "2"], [1e300, 2.0], [10**400, 1], [float("nan"), 1.0]),
    *(
        [[1.0, 2.0]],
        [True, False],
        "",
        "AAAA",
        "AAA=",
        "AAAAAA==",
        "A===",
        "not base64",
        "AAAA\n" * 3,
        "=" * 8,
    ),
    *(in_base64([1.0]), in_base64([1.0, 2.0]), in_base64([float("inf"), 2.0]), in_base64([0.0] * 3_000)),
    *({"index": 1}, {"float": [1.0, 2.0]}),
]


def body_of(provider: str, vectors: Sequence[Any], places: Sequence[Any] = ()) -> dict[str, Any]:
    """An answer with these vectors; `places` are what it says of their order."""
    if provider == "gemini":
        return {"embeddings": [{"values": vector} for vector in vectors]}
    data = [{"object": "embedding", "embedding": vector} for vector in vectors]
    for item, place in zip(data, places, strict=False):
        item["index"] = place
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}}


async def outcome(llm: LLM) -> tuple[str, Vectors | None]:
    """What becomes of a call: "answer" and the numbers, or the class of the error."""
    try:
        numbers = await packed(await llm.embed(EmbedRequest(texts=TEXTS), call_id="j:1"), "host/m")
    except errors.ProviderError as error:
        is_decent(error)
        return type(error).__name__, None
    size = len(numbers) // len(TEXTS)
    assert size % 4 == 0 < size
    rows = [unpack(f"<{size // 4}f", numbers[at : at + size]) for at in range(0, len(numbers), size)]
    assert len(rows) == len(TEXTS)
    assert all(math.isfinite(number) for row in rows for number in row)
    return "answer", rows


def asked(provider: str, body: bytes, size: int = 100_000) -> tuple[str, Vectors | None]:
    return asyncio.run(outcome(saying(provider, cut(body, size), kind="application/json")))


of_those_with_vectors = pytest.mark.parametrize("provider", ["openai", "gemini"])
VECTORS = st.lists(
    st.sampled_from([[1.0, 2.0], [3.0, 4.0], *ODD_VECTORS, *ODD_VALUES]), min_size=2, max_size=4
)
PLACES: st.SearchStrategy[list[Any]] = st.lists(
    st.sampled_from([0, 1, 2, 3, -1, "0", 1.5, None, 10**20, []]), max_size=4
)


@of_those_with_vectors
def test_whatever_comes_is_vectors_or_a_typed_error(provider: str) -> None:
    @SOME
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        body: Any = body_of(provider, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [0, 1, 2])
        if data.draw(st.booleans()):
            body = body_of(provider, data.draw(VECTORS), data.draw(PLACES))
        if data.draw(st.booleans()):
            body = changed(body, data.draw)
        sent = loose(body)
        if data.draw(st.booleans()):
            sent = bent(sent, data.draw)
        assert asked(provider, sent, data.draw(SIZES)) == asked(provider, sent)

    holds()


@of_those_with_vectors
@pytest.mark.parametrize("vector", ODD_VECTORS, ids=lambda vector: repr(vector)[:30])
def test_one_odd_vector_never_gets_the_others_out_of_step(provider: str, vector: Any) -> None:
    for at in range(3):
        vectors: list[Any] = [[1.0, 2.0]] * 3
        vectors[at] = vector
        kind, rows = asked(provider, loose(body_of(provider, vectors)))
        if rows:
            assert [row for n, row in enumerate(rows) if n != at] == [(1.0, 2.0)] * 2
            assert all(len(row) == 2 for row in rows)
        else:
            assert kind == "MalformedResponse"


@pytest.mark.parametrize(
    ("places", "order"),
    [
        ([2, 0, 1], [1, 2, 0]),
        ([3, 1, 2], [1, 2, 0]),
        (["2", "0", "1"], [1, 2, 0]),
        ([], [0, 1, 2]),
        ([None, None, None], [0, 1, 2]),
        ([0, 0, 0], [0, 1, 2]),
        ([0, 1, 0], [0, 1, 2]),  # of a host that asks in portions, each counted from 0
        ([1, 0], [0, 1, 2]),  # one has none: the order in which they came is all there is
        ([5, "x", 1], [0, 1, 2]),
        ([5, -2, [1]], [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("coded", [False, True])
def test_vectors_are_in_the_order_of_the_texts(places: list[Any], order: list[int], coded: bool) -> None:
    vectors = [(0.0, 1.0), (2.0, 3.0), (4.0, 5.0)]
    body = body_of("openai", [in_base64(v) if coded else list(v) for v in vectors], places)
    assert asked("openai", loose(body)) == ("answer", [vectors[n] for n in order])


@of_those_with_vectors
def test_vectors_beyond_all_bounds_are_refused(provider: str) -> None:
    body = loose(body_of(provider, [[0.25] * 8_000] * 3))
    assert asked(provider, body)[0] == "MalformedResponse"
