"""A request in the form of OpenAI, which is the neutral one but for a few names."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from client.errors import ProviderError
from client.wire.schemas import ChatRequest, EmbedRequest, Message
from promptmill.dialects.neutral import without_blanks

_STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
_PLAIN = {"stream": False}  # some hosts stream where it is not said
_OTHER_LIMIT = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_NOT_OPENAIS = ("thinking_blocks",)  # of a message
_UNKNOWN = re.compile(
    r"unsupported|unrecogni[sz]ed|unknown|unexpected|unsupported_parameter|not (?:supported|permitted|allowed)|extra",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Names:
    """By which names a host takes what has several."""

    limit: str = "max_tokens"
    developer: str = "system"  # the role of whoever set the model up
    is_own: bool = False  # OpenAI's own host: it refuses fields that others have added

    def corrected(self, refusal: ProviderError) -> Names:
        """The names that a refusal tells of: it names the other one, or says that ours is not known."""
        said, other = f"{refusal.message} {refusal.code}", _OTHER_LIMIT[self.limit]
        if other in said or (self.limit in said and _UNKNOWN.search(said)):
            return replace(self, limit=other)
        return replace(self, developer="system") if "developer" in said else self


def chat_body(
    request: ChatRequest, model: str, names: Names, extra: dict[str, Any], *, stream: bool
) -> dict[str, Any]:
    """The body of /chat/completions."""
    body: dict[str, Any] = {"model": model, "messages": [_message(m, names) for m in request.messages]}
    options = {
        names.limit: request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": request.stop,
        "seed": request.seed,
        "tools": request.tools or None,
        "tool_choice": request.tool_choice,
        "response_format": request.response_format,
    }
    for name, value in options.items():
        if value is not None:
            body[name] = value
    body |= _STREAMED if stream else _PLAIN
    body |= extra
    if body.get("stream_options", ...) is None:
        del body["stream_options"]
    return body


def _message(message: Message, names: Names) -> dict[str, Any]:
    role, content, more = message.role, message.content, message.model_extra
    if isinstance(content, list):
        content = without_blanks(content)
    said = {"role": names.developer if role == "developer" else role, "content": content}
    if not more:
        return said
    if names.is_own and more.keys() & _NOT_OPENAIS:
        more = {name: value for name, value in more.items() if name not in _NOT_OPENAIS}
    return {**said, **more}


def embed_body(request: EmbedRequest, model: str, encoding: str, extra: dict[str, Any]) -> dict[str, Any]:
    """The body of /embeddings."""
    body: dict[str, Any] = {"model": model, "input": request.texts, "encoding_format": encoding}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body | extra
