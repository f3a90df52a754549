"""What is on the wire: the requests that services send and the results they get back.

Every number has its unit in its name. What a provider did not tell is None, never 0.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from . import extras
from .nulls import of_message, present, without_nulls
from .vectors import Vectors

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

# provider/model; the provider is one of those the worker's settings name. A model may hold slashes.
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^\S+$")]

Fallbacks = Annotated[list[ModelName], Field(max_length=8)]

# What an answer that came lacks
Shortfall: TypeAlias = Literal["empty", "cut_off", "filtered"]

# Fields of a message, in `extra`, that are an answer without a word
BESIDE_WORDS = frozenset({"audio", "images", "function_call", "content_parts", "parts"})

_NULLABLE = frozenset({"stream_options"})  # in `extra`: null keeps out what would be sent by itself
_SYSTEMS = ("system", "developer")  # the roles of whoever set the model up
_OF_OBJECTS = frozenset({"tools", "tool_choice", "response_format"})
_WITH_FIELDS = _OF_OBJECTS | {"extra"}  # within which nulls may be
MAX_MESSAGES = 20_000  # of a request: to check more would hold an event loop for long
MAX_PROMPT_BYTES = 8 * 1024 * 1024  # larger than any context window; one value must not fill Redis


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def is_blank(content: str | list[dict[str, Any]] | None) -> bool:
    """Whether a message's content is none, or nothing but white space."""
    if isinstance(content, str):
        return not content or content.isspace()
    return content is None or all(map(is_blank_part, content))


def is_blank_part(part: dict[str, Any]) -> bool:
    """Whether it is a text of nothing but white space."""
    if part.get("type", "text") != "text":
        return False
    text = part.get("text", "" if "type" in part else None)  # without a type it is a provider's own form
    return isinstance(text, str) and (not text or text.isspace())


def _given(data: Any) -> Any:
    """The fields of a request that are not null. In `metadata` null stays, as it comes back with the result."""
    if not isinstance(data, dict):
        return data
    if isinstance(messages := data.get("messages"), list) and len(messages) > MAX_MESSAGES:
        raise ValueError(f"it has {len(messages):,} messages, and at most {MAX_MESSAGES:,} can be sent")
    if _WITH_FIELDS.isdisjoint(data) and type(None) not in map(type, data.values()):
        return data
    fields = present(data)
    for name in _OF_OBJECTS & fields.keys():
        fields[name] = without_nulls(fields[name])
    if isinstance(extra := fields.get("extra"), dict):
        fields["extra"] = {
            name: value for name, value in extra.items() if value is not None or name in _NULLABLE
        }
    return fields


class Message(BaseModel):
    """One turn of a conversation, in OpenAI's neutral form; fields a provider adds are kept.

    Fields that are null are left out. What a tool returned and a system message may be empty.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    # `function` is the older `tool`, as `function_call` is the older `tool_calls`
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict) or (len(data) == 2 and type(data.get("content")) is str):
            return data  # nothing but a role and a text, as most are
        return of_message(data)

    @model_validator(mode="after")
    def _says_something(self) -> Message:
        role, content = self.role, self.content
        if (role == "user" and is_blank(content)) or (
            # whatever else an assistant's carries is its turn: calls, audio, a refusal
            role == "assistant"
            and not content
            and content != ""
            and not (self.model_extra or {}).keys() - {"name"}
        ):
            raise ValueError(f"the {role} message is empty")
        return self


class ChatRequest(_Wire):
    """One completion to be made. `model` None means the worker's DEFAULT_MODEL.

    Where `model` cannot answer, the `fallbacks` are asked in turn, each with all the tries of a job.
    """

    messages: Annotated[list[Message], Field(min_length=1)]
    model: ModelName | None = None
    fallbacks: Fallbacks = Field(default_factory=list)
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop: list[str] | str | None = None
    seed: int | None = None
    # OpenAI's forms, translated for every other provider
    tools: list[dict[str, Any]] = Field(default_factory=list)
    tool_choice: str | dict[str, Any] | None = None  # auto, none, required, or the function to call
    response_format: dict[str, Any] | None = None
    stream: bool = False  # the answer is to be followed while it is written: Job.stream
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    # the caller's own; comes back with the result, never sent on
    metadata: dict[str, Any] = Field(default_factory=dict)
    extra: dict[str, Any] = Field(default_factory=dict)  # the providers' own fields: see extras.py

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        return _given(extras.one_limit(data))

    @field_validator("extra")
    @classmethod
    def _is_extra(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if extra and (fault := extras.fault_of_chat(extra, cls.model_fields.keys() - {"metadata"})):
            raise ValueError(fault)
        return extra

    @field_validator("messages")
    @classmethod
    def _leave_out_empty_systems(cls, messages: list[Message]) -> list[Message]:
        for each in messages:
            if each.role in _SYSTEMS and is_blank(each.content):
                return _without_empty_systems(messages)
        return messages


def _without_empty_systems(messages: list[Message]) -> list[Message]:
    kept = [each for each in messages if each.role not in _SYSTEMS or not is_blank(each.content)]
    if not kept:
        raise ValueError("every message is empty")
    return kept


class EmbedRequest(_Wire):
    """Texts to be turned into vectors. `model` None means the worker's DEFAULT_EMBED_MODEL.

    `fallbacks` as in ChatRequest; mind that the vectors of two models cannot be compared.
    """

    texts: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    model: ModelName | None = None
    fallbacks: Fallbacks = Field(default_factory=list)
    dimensions: Annotated[int, Field(gt=0)] | None = None
    texts_per_call: Annotated[int, Field(gt=0)] | None = None  # None: as many as the provider takes
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    extra: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        return _given(data)

    @field_validator("extra")
    @classmethod
    def _is_extra(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if extra and (fault := extras.fault_of_embed(extra, cls.model_fields.keys() - {"metadata"})):
            raise ValueError(fault)
        return extra


class _Answer(BaseModel):
    """Read by older clients, too: what they do not know, they leave out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Usage(_Answer):
    """Tokens as the provider counted them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None  # read from the provider's cache; part of the input
    cache_write_tokens: int | None = None  # written to it; part of the input too
    reasoning_tokens: int | None = None  # part of the output


class Attempt(_Answer):
    """One physical call to a provider. `error` is the class name of what went wrong. Where it was not `sent`, none was
    made: the provider could not be asked this, or took no calls.

    With `JobCrashed` its worker died, or lost its lease: it may have been made and paid for. Its `duration_s` is
    until that was noticed.
    """

    number: int
    model: str
    started_at: datetime
    duration_s: float
    error: str | None = None
    status: int | None = None
    usage: Usage | None = None  # None: the provider did not tell
    cost_usd: float | None = None
    ttft_s: float | None = None  # time to first token, of a streamed answer
    sent: bool = True
    reason: str | None = None  # in words, where the job went on to another model
    part: int | None = None  # where in the texts its part of them begins; None: it was made for the whole job


class Timings(_Answer):
    """When the job was enqueued, and how long it then waited and ran."""

    enqueued_at: datetime
    queued_s: float  # from being enqueued to the start of the last try
    running_s: float  # the last try alone


class _JobAnswer(_Answer):
    job_id: str
    model: str  # provider/model, as the provider named the model that answered
    usage: Usage
    cost_usd: float | None
    timings: Timings
    attempts: list[Attempt]
    metadata: dict[str, Any] = Field(default_factory=dict)


class Completion(_JobAnswer):
    """The answer to a ChatRequest."""

    object: Literal["promptmill.completion"] = "promptmill.completion"
    text: str
    finish_reason: str | None  # stop, length, tool_calls, content_filter, or the provider's own word
    tool_calls: list[dict[str, Any]] = Field(default_factory=list)
    reasoning: str | None = None  # what the model thought, where the provider shows it
    response_id: str | None = None
    # What the provider sent beyond these fields, by its own names, at four places: `message` (annotations, audio,
    # images, thinking_blocks), `choice` (logprobs), `response` (citations, groundingMetadata) and `usage`
    extra: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @property
    def shortfall(self) -> Shortfall | None:
        """What the answer lacks; None for a whole one. See `shortfall_of`."""
        is_more = bool(self.tool_calls or self.extra.get("message", {}).keys() & BESIDE_WORDS)
        return shortfall_of(self.text, self.finish_reason, is_more=is_more)


def shortfall_of(text: str | None, finish_reason: str | None, *, is_more: bool) -> Shortfall | None:
    """The one answer to the question whether there is an answer. `is_more`: it has something beside its words, such
    as calls of tools or images. A filter that stopped it comes first, then that there is nothing in it."""
    if finish_reason == "content_filter":
        return "filtered"
    if not (is_more or (text and not text.isspace())):
        return "empty"
    return "cut_off" if finish_reason == "length" else None


class Embeddings(_JobAnswer):
    """The vectors of an EmbedRequest's texts, in their order; on the wire, `vectors` is base64.

    Decoding many takes its time: `await asyncio.to_thread(answer.numpy)` keeps an event loop going.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    object: Literal["promptmill.embeddings"] = "promptmill.embeddings"
    packed: Vectors = Field(alias="vectors", repr=False)

    @cached_property
    def vectors(self) -> list[list[float]]:
        """A list of numbers for each text, made when they are first asked for."""
        return self.packed.lists()

    def numpy(self) -> NDArray[numpy.float32]:
        """A new array, a row for each text. Raises ImportError without numpy: the extra `numpy` brings it."""
        return self.packed.numpy()
