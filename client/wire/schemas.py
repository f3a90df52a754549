"""What is on the wire: the requests that services send and the results they get back.

Every number has its unit in its name. What a provider did not tell is None, never 0.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from .vectors import Vectors

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

# provider/model; the provider is one of those the worker's settings name. A model may hold slashes.
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^\S+$")]

Fallbacks = Annotated[list[ModelName], Field(max_length=8)]

MAX_PROMPT_BYTES = 8 * 1024 * 1024  # larger than any context window; one value must not fill Redis


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(BaseModel):
    """One turn of a conversation, in OpenAI's neutral form; fields a provider adds are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Message:
        if self.content in (None, "", []) and not (self.model_extra or {}).get("tool_calls"):
            raise ValueError(f"the {self.role} message is empty")
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
    extra: dict[str, Any] = Field(default_factory=dict)  # provider-specific fields, sent as they are


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


class Usage(_Wire):
    """Tokens as the provider counted them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None  # read from the provider's cache; part of the input
    cache_write_tokens: int | None = None  # written to it; part of the input too
    reasoning_tokens: int | None = None  # part of the output


class Attempt(_Wire):
    """One physical call to a provider. `error` is the class name of what went wrong.

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
    part: int | None = None  # where in the texts its part of them begins; None: it was made for the whole job


class Timings(_Wire):
    """When the job was enqueued, and how long it then waited and ran."""

    enqueued_at: datetime
    queued_s: float  # from being enqueued to the start of the last try
    running_s: float  # the last try alone


class _JobAnswer(_Wire):
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
