"""What the fuzz sends: whole bodies of every dialect, and what may happen to them on their way."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from hypothesis import strategies as st

from tests.unit.recordings import cases, recorded

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
# of bytes that mean something to a reader of JSON or of events, and of some that never should be there
ODD_BYTES = [
    *(b"", b"\n", b"\n\n", b"\r", b"data: ", b"data: [DONE]\n\n", b"event: error\n", b": ping\n\n", b"null"),
    *(
        b"{",
        b"}",
        b"[",
        b'"',
        b"<",
        b"1e999",
        b"NaN",
        b"-1",
        b"\\ud83d",
        b"\\ude00",
        b"\xf0\x9f",
        b"\x98\x80",
    ),
    *(b"\xff", b"\xef\xbb\xbf", b"\x00", b"\x1b"),
]
ODD_VALUES: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        1.5,
        10**13,
        10**5000,
        float("nan"),
        float("inf"),
        "",
        " ",
        "10",
        "stop",
        "x" * 3_000,
    ),
    *(
        "\ud83d",
        "\ude00x",
        [],
        {},
        [None],
        [[]],
        [{}],
        {"a": None},
        {"text": 3},
        {"error": {}},
        {"index": "0"},
    ),
]
SIZES = st.sampled_from([1, 2, 7, 100, 100_000])  # of chunks, in bytes


@cache
def recordings(provider: str) -> list[bytes]:
    """The bodies of the 200s and of the refusals that were recorded."""
    return [recorded(provider, case).body for case in cases(provider)]


def wholes(provider: str, text: str) -> dict[str, Any]:
    """A plain answer that says `text`."""
    if provider == "openai":
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return {"id": "1", "model": "m", "choices": [choice], "usage": USAGE}
    if provider == "anthropic":
        usage = {"input_tokens": 9, "output_tokens": 4}
        content = [{"type": "text", "text": text}]
        return {
            "type": "message",
            "id": "1",
            "model": "m",
            "content": content,
            "stop_reason": "end_turn",
            "usage": usage,
        }
    told = {"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}
    return {"candidates": [told], "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4}}


def events(provider: str, texts: list[str]) -> list[dict[str, Any]]:
    """The events of a stream that says `texts`."""
    if provider == "openai":
        said: list[dict[str, Any]] = [{"choices": [{"delta": {"content": text}}]} for text in texts]
        end: dict[str, Any] = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
        return [*said, end, {"choices": [], "usage": USAGE}]
    if provider == "anthropic":
        said = [
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}} for text in texts
        ]
        usage = {"output_tokens": 4}
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
        start: dict[str, Any] = {
            "type": "message_start",
            "message": {"id": "1", "usage": {"input_tokens": 9}},
        }
        return [start, *said, end, {"type": "message_stop"}]
    said = [{"candidates": [{"content": {"parts": [{"text": text}]}}]} for text in texts]
    said[-1]["candidates"][0]["finishReason"] = "STOP"
    said[-1]["usageMetadata"] = {"promptTokenCount": 9, "candidatesTokenCount": 4}
    return said


def loose(value: Any) -> bytes:
    """JSON as Python writes it: half characters as escapes, and numbers that JSON has not."""
    return _dumped(value).encode()


def _dumped(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_dumped(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dumped, value)) + "]"
    if isinstance(value, int) and abs(value) > 10**4_000:  # which Python does not write
        return "9" * 5_000
    return json.dumps(value)


def frame(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def changed(value: Any, draw: Draw) -> Any:
    """`value` with another value somewhere inside."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        name = draw(st.sampled_from(list(value)))
        if draw(st.integers(0, 9)):
            return {**value, name: changed(value[name], draw)}
        return {key: each for key, each in value.items() if key != name}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], changed(value[at], draw), *value[at + 1 :]]
    return draw(st.sampled_from(ODD_VALUES))


@st.composite
def bent_bytes(draw: st.DrawFn, provider: str) -> bytes:
    """A recorded body with bytes changed, put in, taken out, doubled or cut off."""
    return bent(draw(st.sampled_from(recordings(provider))), draw)


def bent(body: bytes, draw: Draw) -> bytes:
    """The body, so changed."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.sampled_from([0, 1, 2, 10, 300])))
        odd = draw(st.sampled_from(ODD_BYTES) | st.binary(max_size=4))
        body = body[:start] + draw(st.sampled_from([odd, odd * 50, body[start:end] * 2])) + body[end:]
    whole: int = draw(st.sampled_from([len(body), draw(st.integers(0, len(body)))]))
    return body[:whole]


@st.composite
def bent_values(draw: st.DrawFn, provider: str) -> bytes:
    """A recorded body, or what an answer of ours is in one, with values of its JSON changed, in frames of any kind."""
    found = []
    for line in draw(st.sampled_from(recordings(provider))).splitlines():
        try:
            found.append(json.loads(line.removeprefix(b"data: ")))
        except ValueError:
            continue
    data = found or [wholes(provider, "Hello")]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data) - 1))
        data[at] = changed(data[at], draw)
    return framed(data, draw)


def framed(data: list[Any], draw: Draw) -> bytes:
    """The events in one of the frames that hosts use."""
    lines = list(map(loose, data))
    kind: str = draw(st.sampled_from(["events", "events", "lines", "list", "pretty"]))
    if kind == "events":
        end: bytes = draw(st.sampled_from([b"", frame(b"[DONE]")]))
        return b"".join(map(frame, lines)) + end
    if kind == "lines":
        return b"\n".join(lines) + (b"\n" if draw(st.booleans()) else b"")
    return b"[" + (b"\n,\n" if kind == "pretty" else b",").join(lines) + b"]"


def cut(body: bytes, size: int) -> list[bytes]:
    """The body in chunks, some hundreds at most."""
    size = max(size, len(body) // 300)
    return [body[at : at + size] for at in range(0, len(body), size)]
