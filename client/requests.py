"""What a caller wrote → a checked request. Bad input gets one sentence (InvalidRequest)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from .errors import InvalidRequest, Unserializable
from .steps import Steps
from .wire.codec import encode
from .wire.nulls import present
from .wire.schemas import MAX_MESSAGES, MAX_PROMPT_BYTES, ChatRequest, EmbedRequest, Message

# A prompt, a conversation, {"prompt": …} or the fields of a ChatRequest, or one made already.
ChatInput: TypeAlias = str | list[dict[str, Any]] | list[Message] | dict[str, Any] | ChatRequest

# A text, several, {"texts": …} or the fields of an EmbedRequest, or one made already.
EmbedInput: TypeAlias = str | Iterable[str] | dict[str, Any] | EmbedRequest

PORTION = 500  # messages checked in one go
FAR_TOO_LARGE_CHARS = 2 * MAX_PROMPT_BYTES
_SPLIT_IT = f"; at most {MAX_PROMPT_BYTES:,} can be queued: split it."
_MESSAGES = TypeAdapter(list[Message])

Model = TypeVar("Model", bound=BaseModel)
T = TypeVar("T")


def chat_request(value: ChatInput, *, system: str | None = None, **options: Any) -> ChatRequest:
    """The request that `value` stands for; `options` are fields of ChatRequest. Raises InvalidRequest."""
    options = present(options)
    if isinstance(value, ChatRequest):
        if system is None and not options:
            return value
        value = value.model_dump(exclude_unset=True)
    fields = {**_chat_fields(value), **options}
    if system is not None and isinstance(fields.get("messages"), list):
        fields["messages"] = [{"role": "system", "content": system}, *fields["messages"]]
    return checked(ChatRequest, fields)


def embed_request(value: EmbedInput, **options: Any) -> EmbedRequest:
    """The request for these texts; `options` are fields of EmbedRequest. Raises InvalidRequest."""
    options = present(options)
    if isinstance(value, EmbedRequest):
        if not options:
            return value
        value = value.model_dump(exclude_unset=True)
    return checked(EmbedRequest, {**_embed_fields(value), **options})


def each(requests: Iterable[T], verb: str) -> Iterable[T]:
    """`requests`, or InvalidRequest where it is one request: its characters or fields would be sent."""
    if isinstance(requests, str | bytes | dict | BaseModel) or not isinstance(requests, Iterable):
        raise InvalidRequest(f"{verb}_many takes a list of requests; for a single one there is {verb}.")
    return requests


def unicode_id(job_id: str) -> str:
    """A job's id. Raises InvalidRequest where Redis cannot be asked for it."""
    try:
        job_id.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"The job id {job_id!r} is not valid Unicode.") from None
    return job_id


def checked(model: type[Model], fields: Any) -> Model:
    """`fields` as a `model`, or InvalidRequest with the first fault in one sentence."""
    try:
        return cast(Model, model.__pydantic_validator__.validate_python(fields))
    except ValidationError as error:
        raise InvalidRequest(sentence(error)) from None


async def in_portions(value: Any, steps: Steps) -> Any:
    """`value`, in which many messages are checked a portion at a time; where one is bad, up to the bad one."""
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list) or not PORTION < len(messages) <= MAX_MESSAGES:
        return value
    read: list[Any] = []
    for start in range(0, len(messages), PORTION):
        portion = messages[start : start + PORTION]
        try:
            read += _MESSAGES.validate_python(portion)
        except ValidationError:  # what says where it is says so once, of the whole request
            read += portion
            break
        await steps.give_way()
    return {**value, "messages": read} if isinstance(value, dict) else read


def check_chars(size_chars: int) -> None:
    """Raises InvalidRequest where texts are far too large to queue, before they are copied."""
    if size_chars > FAR_TOO_LARGE_CHARS:
        raise InvalidRequest(f"The request has more than {FAR_TOO_LARGE_CHARS:,} bytes{_SPLIT_IT}")


def check_writable(fields: dict[str, Any]) -> None:
    """Raises InvalidRequest where a request of these fields could not be written, or not be read back."""
    try:
        encode({"a": [fields]})
    except Unserializable as error:
        raise InvalidRequest(str(error)) from None


def check_size(payload: bytes) -> None:
    """Raises InvalidRequest where the payload is too large to queue."""
    if len(payload) > MAX_PROMPT_BYTES:
        raise InvalidRequest(f"The request has {len(payload):,} bytes{_SPLIT_IT}")


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
    fields = present(value)
    if "prompt" in fields:
        if "messages" in fields:
            raise InvalidRequest("Give either prompt or messages, not both.")
        fields["messages"] = [{"role": "user", "content": fields.pop("prompt")}]
    return fields


def _embed_fields(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"texts": [value]}
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise InvalidRequest(
            f"An embedding takes a text, several or an EmbedRequest, not {type(value).__name__}."
        )
    return {"texts": list(value)}
