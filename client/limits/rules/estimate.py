"""How many tokens a call is going to take, told before it is made. Pure, and linear in its text.

    input = ceil(UTF-8 bytes of all text / 4) + 4 per message + 800 per image

Text is what the messages say (the tool calls among them, as JSON), the texts to embed, and the definitions
of tools and of the answer's format, as JSON, in the request or in its `extra`. What else a message may hold
(audio, files) is not counted. The estimate is settled by the provider's own count after the call, so it need
not be right, only near and quick.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import to_json

from ...wire.schemas import ChatRequest, EmbedRequest

BYTES_PER_TOKEN = 4  # of English; other scripts have more bytes a character, and more tokens, too
MESSAGE_TOKENS = 4  # its role and its delimiters
IMAGE_TOKENS = 800  # about 1,000 by 1,000 pixels
UNKNOWN = 0  # output: the mean of the model's answers is reserved
NONE = -1  # output: a call that has none

_IMAGES = ("image_url", "image", "input_image")
_CALLS = ("tool_calls", "function_call")
_DEFINITIONS = ("tools", "functions", "response_format")


def input_tokens(request: ChatRequest | EmbedRequest) -> int:
    """The input of `request` by the rule above."""
    if isinstance(request, EmbedRequest):
        return _tokens(_bytes("".join(request.texts)))
    size_bytes = image_count = 0
    for message in request.messages:
        content = message.content
        said_bytes, images = (_bytes(content), 0) if isinstance(content, str) else _said(content)
        size_bytes += said_bytes + (_tool_call_bytes(more) if (more := message.model_extra) else 0)
        image_count += images
    for given in (request.tools, request.response_format, *_definitions_in(request.extra)):
        if given:
            size_bytes += _json_bytes(given)
    return _tokens(size_bytes) + MESSAGE_TOKENS * len(request.messages) + IMAGE_TOKENS * image_count


def output_tokens(request: ChatRequest | EmbedRequest) -> int:
    """The output that `request` allows itself: its max_tokens, or UNKNOWN, or NONE for embeddings."""
    if isinstance(request, EmbedRequest):
        return NONE
    return request.max_tokens or UNKNOWN


def _tokens(size_bytes: int) -> int:
    return -(-size_bytes // BYTES_PER_TOKEN)


def _said(content: Any) -> tuple[int, int]:
    """Bytes of text, and images, in a message's content, and in the results of tools within it."""
    size_bytes = images = 0
    pending = [content]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            size_bytes += _bytes(part)
        elif isinstance(part, list):
            pending += part
        elif isinstance(part, dict) and part.get("type") in _IMAGES:
            images += 1
        elif isinstance(part, dict):
            pending += (part.get("text"), part.get("content"))
    return size_bytes, images


def _tool_call_bytes(extra: dict[str, Any]) -> int:
    return sum(_json_bytes(extra[name]) for name in _CALLS if extra.get(name))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def _definitions_in(extra: dict[str, Any]) -> Iterable[Any]:
    return map(extra.get, _DEFINITIONS) if extra else ()


def _json_bytes(value: Any) -> int:
    try:
        return len(to_json(value))
    except ValueError:  # whoever sends the request says so in a sentence
        return 0
