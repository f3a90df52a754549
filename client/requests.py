"""What a caller wrote → a checked request. Bad input gets one sentence (InvalidRequest)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import InvalidRequest
from .schemas import MAX_PROMPT_BYTES, ChatRequest, EmbedRequest, Message

# A prompt, a conversation, {"prompt": …} or the fields of a ChatRequest, or one made already.
ChatInput: TypeAlias = str | list[dict[str, Any]] | list[Message] | dict[str, Any] | ChatRequest

Model = TypeVar("Model", bound=BaseModel)


def chat_request(value: ChatInput, *, system: str | None = None, **options: Any) -> ChatRequest:
    """The request that `value` stands for; `options` are fields of ChatRequest. Raises InvalidRequest."""
    options = {name: option for name, option in options.items() if option is not None}
    if isinstance(value, ChatRequest):
        if system is None and not options:
            return value
        value = value.model_dump(exclude_unset=True)
    fields = {**_chat_fields(value), **options}
    if system is not None:
        fields["messages"] = [{"role": "system", "content": system}, *fields.get("messages", ())]
    return checked(ChatRequest, fields)


def embed_request(value: str | Iterable[str] | EmbedRequest, **options: Any) -> EmbedRequest:
    """The request for these texts; `options` are fields of EmbedRequest. Raises InvalidRequest."""
    if isinstance(value, EmbedRequest):
        return value
    texts = [value] if isinstance(value, str) else list(value)
    options = {name: option for name, option in options.items() if option is not None}
    return checked(EmbedRequest, {"texts": texts, **options})


def checked(model: type[Model], fields: Any) -> Model:
    """`fields` as a `model`, or InvalidRequest with the first fault in one sentence."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequest(sentence(error)) from None


def check_size(payload: bytes) -> None:
    """Raises InvalidRequest where the payload is too large to queue."""
    if len(payload) > MAX_PROMPT_BYTES:
        raise InvalidRequest(
            f"The request has {len(payload):,} bytes; at most {MAX_PROMPT_BYTES:,} can be queued: split it."
        )


def sentence(error: ValidationError) -> str:
    """The first fault that pydantic found: where, what, and how many more there are."""
    first, *more = error.errors(include_url=False, include_input=False)
    where = ".".join(str(part) for part in first["loc"]) or "the request"
    what = first["msg"].removeprefix("Value error, ")
    rest = f" (and {len(more)} more)" if more else ""
    return f"{where}: {what[:1].lower()}{what[1:]}{rest}."


def _chat_fields(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"messages": [{"role": "user", "content": value}]}
    if isinstance(value, list):
        return {"messages": value}
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"A chat takes a prompt, a list of messages or a ChatRequest, not {type(value).__name__}."
        )
    if "prompt" in value:
        if "messages" in value:
            raise InvalidRequest("Give either prompt or messages, not both.")
        rest = {name: field for name, field in value.items() if name != "prompt"}
        return {**rest, "messages": [{"role": "user", "content": value["prompt"]}]}
    return value
