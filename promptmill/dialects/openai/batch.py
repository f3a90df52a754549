"""OpenAI's batch lines: {"custom_id", "method", "url", "body"} → the fields of our requests."""

from __future__ import annotations

from typing import Any

from client.errors import InvalidRequest
from client.wire.schemas import ChatRequest

CHAT_URL = "/v1/chat/completions"
EMBEDDINGS_URL = "/v1/embeddings"

_LINE_FIELDS = frozenset({"method", "url", "body"})
_CHAT_FIELDS = frozenset(ChatRequest.model_fields) - {"extra", "timeout_s"}


def is_batch(fields: dict[str, Any]) -> bool:
    """Whether the line is of the batch form; its custom_id has been taken out."""
    return "body" in fields or "url" in fields


def from_batch(fields: dict[str, Any]) -> dict[str, Any]:
    """The body as fields of ChatRequest or EmbedRequest. Raises InvalidRequest."""
    unknown = fields.keys() - _LINE_FIELDS
    if unknown:
        raise InvalidRequest(f"a batch line has no field {min(unknown)!r}")
    if fields.get("method", "POST") != "POST":
        raise InvalidRequest("its method must be POST")
    body = fields.get("body")
    if not isinstance(body, dict):
        raise InvalidRequest("its body must be a JSON object")
    url = fields.get("url", CHAT_URL)
    if url == CHAT_URL:
        return _chat(body)
    if url == EMBEDDINGS_URL:
        return _embeddings(body)
    raise InvalidRequest(f"its url must be {CHAT_URL} or {EMBEDDINGS_URL}")


def _chat(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("stream"):
        raise InvalidRequest("its answer cannot be streamed into a file: leave stream out")
    if body.get("n") not in (None, 1):
        raise InvalidRequest("it asks for more than one answer (n): write a line for each")
    fields = {name: value for name, value in body.items() if name in _CHAT_FIELDS and value is not None}
    if "messages" not in fields:
        raise InvalidRequest("its body has no messages")
    extra = {name: value for name, value in body.items() if name not in _CHAT_FIELDS}
    for name in ("stream", "stream_options", "n"):
        extra.pop(name, None)
    return {**fields, "extra": extra} if extra else fields


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    rest = dict(body)
    texts = rest.pop("input", None)
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequest("its input must be a text or a list of texts")
    if rest.pop("encoding_format", "float") != "float":
        raise InvalidRequest("its encoding_format must be float: vectors are written as numbers")
    known = ("model", "dimensions", "metadata")
    fields: dict[str, Any] = {name: rest.pop(name) for name in known if name in rest}
    return {**fields, "texts": texts, **({"extra": rest} if rest else {})}
