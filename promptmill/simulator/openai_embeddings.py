"""OpenAI's `POST /v1/embeddings`, with unit vectors made from the text's hash."""

import base64
import hashlib
import math
import struct
from typing import Any

from pydantic_core import to_json

from .config import SimulatorConfig
from .dialect import HttpReply, is_positive_int, parse_object
from .openai import check_body, error
from .text import count_tokens

DEFAULT_DIMENSIONS = 1536
MAX_DIMENSIONS = 4096
MAX_INPUTS = 2048  # OpenAI's own limit on texts a call


def read_embeddings(raw: bytes, config: SimulatorConfig) -> HttpReply:
    """The reply an embeddings call's body deserves; raises `Refused`."""
    body = check_body(parse_object(raw))
    texts = _check_input(body.get("input"))
    dimensions = body.get("dimensions") or DEFAULT_DIMENSIONS
    if not is_positive_int(dimensions) or dimensions > MAX_DIMENSIONS:
        raise error(
            400,
            f"Invalid 'dimensions': expected an integer from 1 to {MAX_DIMENSIONS}.",
            param="dimensions",
        )
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise error(
            400,
            "Invalid 'encoding_format': expected 'float' or 'base64'.",
            param="encoding_format",
        )
    lengths = [count_tokens(len(text)) for text in texts]
    longest = max(lengths)
    if longest > config.context_tokens:
        raise error(
            400,
            f"This model's maximum context length is {config.context_tokens} tokens, however you "
            f"requested {longest} tokens ({longest} in your prompt; 0 for the completion). Please "
            "reduce your prompt; or completion length.",
            param="input",
            code="context_length_exceeded",
        )
    model, tokens = body["model"], sum(lengths)

    def render() -> bytes:
        return _render(model, tokens, texts, dimensions, as_base64=encoding == "base64")

    return HttpReply(model, tokens, 0, render)


def embed(text: str, dimensions: int) -> list[float]:
    """The text's vector: of length 1, the same for the same text, unlike that of any other."""
    noise = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    values = struct.unpack(f"<{dimensions}h", noise)
    norm = math.hypot(*values) or 1.0
    return [value / norm for value in values]


def _check_input(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise error(400, "'input' must be a string or an array of strings.", param="input", code=None)
    if not texts or not all(texts):
        raise error(400, "'input' cannot be empty.", param="input")
    if len(texts) > MAX_INPUTS:
        raise error(400, f"'input' cannot hold more than {MAX_INPUTS} texts.", param="input")
    return texts


def _render(model: str, tokens: int, texts: list[str], dimensions: int, *, as_base64: bool) -> bytes:
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        vector: list[float] | str = embed(text, dimensions)
        if as_base64:
            vector = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return to_json({"object": "list", "data": data, "model": model, "usage": usage})
