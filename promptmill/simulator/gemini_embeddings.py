"""Gemini's `batchEmbedContents`."""

from typing import Any

from pydantic_core import to_json

from .config import SimulatorConfig
from .dialect import HttpReply, is_positive_int, mapping, parse_object
from .gemini import check_model, invalid
from .openai_embeddings import MAX_DIMENSIONS, embed
from .text import content_text, count_tokens

DEFAULT_DIMENSIONS = 3072
MAX_REQUESTS = 100  # Google's own limit on texts a call


def read_batch(raw: bytes, config: SimulatorConfig, *, model: str) -> HttpReply:
    """The reply a batch of texts deserves; raises `Refused`."""
    body = parse_object(raw)
    if body is None:
        raise invalid("Invalid JSON payload received.")
    check_model(model)
    asked = _check_requests(body.get("requests"))
    tokens = [count_tokens(len(text)) for text, _ in asked]
    if max(tokens) > config.context_tokens:
        raise invalid(
            f"The input token count ({max(tokens)}) exceeds the maximum number of tokens allowed "
            f"({config.context_tokens})."
        )

    def render() -> bytes:
        return to_json({"embeddings": [{"values": embed(*each)} for each in asked]})

    return HttpReply(model, sum(tokens), 0, render)


def _check_requests(requests: Any) -> list[tuple[str, int]]:
    if not isinstance(requests, list) or not requests:
        raise invalid("* BatchEmbedContentsRequest.requests: requests is not specified")
    if len(requests) > MAX_REQUESTS:
        raise invalid(
            f"* BatchEmbedContentsRequest.requests: at most {MAX_REQUESTS} requests can be in one batch"
        )
    return [_check_request(each if isinstance(each, dict) else {}) for each in requests]


def _check_request(request: dict[str, Any]) -> tuple[str, int]:
    text = content_text(mapping(request.get("content")).get("parts"))
    if not text:
        raise invalid("* EmbedContentRequest.content: contents is not specified")
    dimensions = request.get("outputDimensionality", DEFAULT_DIMENSIONS)
    if not is_positive_int(dimensions) or dimensions > MAX_DIMENSIONS:
        raise invalid("* EmbedContentRequest.output_dimensionality: out of range")
    return text, dimensions
