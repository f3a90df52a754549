"""Vectors: four bytes a number, as base64, decoded when they are asked for."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from client import Embeddings, Timings, Usage, decode, encode
from client.wire.splices import LARGE_CHARS
from client.wire.vectors import SLICE_BYTES, Vectors

DIMENSIONS = 1_536
COMMON: dict[str, Any] = {
    "job_id": "a",
    "model": "openai/m",
    "usage": Usage(input_tokens=3),
    "cost_usd": None,
    "timings": Timings(enqueued_at=datetime(2026, 1, 2, tzinfo=UTC), queued_s=1, running_s=2),
    "attempts": [],
}


def answer(rows: Any) -> Embeddings:
    return Embeddings(**COMMON, vectors=rows)


def rows(count: int, dimensions: int = DIMENSIONS) -> list[list[float]]:
    return [[float(row), 0.5, *([-1.25] * (dimensions - 2))] for row in range(count)]


def travel(value: Any) -> Any:
    return decode(encode({"a": ["x"], "r": value}))["r"]


@pytest.mark.parametrize("count", [1, 7, 100])  # the last is cut out before the JSON is parsed
def test_vectors_come_back_as_they_were(count: int) -> None:
    given = answer(rows(count))
    back = travel([{"deep": given}, given])
    assert back == [{"deep": given}, given]
    assert back[1].vectors == rows(count)
    assert back[1].vectors is back[1].vectors


def test_they_take_less_than_eight_bytes_a_number() -> None:
    data = encode({"r": answer(rows(100))})
    assert len(data) / (100 * DIMENSIONS) < 5.4
    assert len(data) > LARGE_CHARS


def test_a_record_with_lists_of_numbers_is_read() -> None:
    wire = {**answer([[0.5, 1.0]]).model_dump(mode="json"), "vectors": [[0.5, 1], [2, 3.5]]}
    back = travel(wire)
    assert isinstance(back, Embeddings)
    assert back.vectors == [[0.5, 1.0], [2.0, 3.5]]


@pytest.mark.parametrize(
    "wrong",
    [
        [[1.0], [1.0, 2.0]],
        [["a"]],
        "AAAA",
        {"dimensions": 2, "float32": "AACAPw=="},
        {"dimensions": 1, "float32": "AAA"},
        {"dimensions": "1", "float32": "AACAPw=="},
        {"float32": "AACAPw=="},
    ],
)
def test_what_is_no_vectors_stays_data(wrong: object) -> None:
    wire = {**answer([[0.5]]).model_dump(mode="json"), "vectors": wrong}
    assert travel(wire) == wire


def test_base64_that_is_none_is_refused_when_it_is_read() -> None:
    wire = answer([[0.5]]).model_dump(mode="json")
    back = travel({**wire, "vectors": {"dimensions": 1, "float32": "!" * 16}})
    with pytest.raises(ValueError, match="cannot be read"):
        _ = back.vectors


@pytest.mark.parametrize(
    "make",
    [
        lambda text: {"vectors": {"dimensions": 1, "float32": text}},
        lambda text: {"object": "promptmill.embeddings", "vectors": {"dimensions": 1, "float32": text}},
        lambda text: f'{{"vectors":{{"dimensions":1,"float32":"{text}"}}}}',
        lambda text: [{"vectors": {"dimensions": 1, "float32": text, "more": text}}, text],
    ],
)
def test_data_that_looks_like_vectors_is_data(make: Callable[[str], Any]) -> None:
    data = make("AAAA" * LARGE_CHARS)
    assert travel(data) == data


def test_python_sees_lists_and_json_base64() -> None:
    given = answer([[0.5, 1.0]])
    assert given.model_dump()["vectors"] == [[0.5, 1.0]]
    assert given.model_dump(mode="json")["vectors"] == {"dimensions": 2, "float32": "AAAAPwAAgD8="}
    assert Embeddings.model_validate_json(given.model_dump_json()) == given
    assert Embeddings.model_json_schema(by_alias=True)["properties"]["vectors"]["type"] == "object"


def test_an_answer_can_be_copied_and_pickled() -> None:
    back = travel(answer(rows(50)))
    assert copy.deepcopy(back) == pickle.loads(pickle.dumps(back)) == back


def test_numpy_gets_a_new_array_of_float32() -> None:
    numpy = pytest.importorskip("numpy")
    given = travel(answer(rows(50)))
    found = given.numpy()
    assert (found.shape, found.dtype) == ((50, DIMENSIONS), numpy.float32)
    assert found.tolist() == rows(50)
    found[0, 0] = 9
    assert given.numpy()[0, 0] == 0


def test_without_numpy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ImportError, match=r"promptmill\[numpy\]"):
        answer([[0.5]]).numpy()


@pytest.mark.parametrize("sizes", [[4], [SLICE_BYTES - 4, 4, 8], [SLICE_BYTES + 4] * 3, [6_144] * 70])
async def test_parts_of_any_size_make_one_text(sizes: list[int]) -> None:
    parts = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    packed = await Vectors.of_bytes(parts, 1)
    other.cancel()
    numbers = array("f", b"".join(parts))
    assert len(packed) == len(numbers)
    assert array("f", [row[0] for row in packed.lists()]).tobytes() == numbers.tobytes()
    assert turns >= sum(sizes) // SLICE_BYTES
