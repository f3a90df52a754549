"""What the simulated provider does: one frozen model, mirrored by the flags and by `/config`."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Cap = Annotated[int, Field(ge=1)]


class InvalidConfig(ValueError):
    """A setting that does not exist or a value it cannot have; the message is one sentence."""


class SimulatorConfig(BaseModel):
    """Every behaviour of the simulator. Each field is a flag of `promptmill simulator` and can
    be changed while it runs with `PATCH /config`. Probabilities are per call, 0 to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    seed: int = Field(default=0, description="Seed of every draw; setting it restarts the draws.")
    latency_s: float = Field(
        default=0.5, ge=0, description="Median seconds from a call's admission to its whole answer."
    )
    latency_sigma: float = Field(
        default=0.3, ge=0, le=5, description="Spread of the log-normal latency; 0 is constant."
    )
    first_token_s: float | None = Field(
        default=None, ge=0, description="Seconds to a stream's first token; unset: a fifth of all."
    )
    tokens_per_s: float | None = Field(
        default=None, gt=0, description="Pace of a stream after its first token; unset: by latency."
    )
    output_tokens: int = Field(
        default=40, ge=1, le=1_000_000, description="Tokens an answer is filled up to."
    )
    stamp_deltas: bool = Field(
        default=False,
        description="OpenAI's deltas tell when each was sent: ms since the epoch, last 4 digits.",
    )
    context_tokens: int = Field(
        default=128_000, ge=1, description="Longest input in tokens, at 4 characters each."
    )
    max_concurrency: Cap | None = Field(
        default=None, description="Calls served at once; the next is refused with 429."
    )
    rpm: Cap | None = Field(default=None, description="Requests a minute (token bucket).")
    tpm: Cap | None = Field(default=None, description="Input and output tokens a minute (token bucket).")
    fault_429: Probability = Field(default=0, description="Chance of a refusal that no cap explains.")
    fault_500: Probability = Field(default=0, description="Chance of an internal server error.")
    fault_529: Probability = Field(
        default=0, description="Chance of an overload: 529 from Anthropic, 503 from the others."
    )
    fault_hang: Probability = Field(default=0, description="Chance of no answer, ever.")
    fault_reset: Probability = Field(default=0, description="Chance of a TCP reset in place of the answer.")
    fault_cut_stream: Probability = Field(
        default=0, description="Chance of an answer that stops in the middle."
    )
    fault_malformed: Probability = Field(default=0, description="Chance of a 200 whose JSON is broken.")
    down: bool = Field(default=False, description="Answer 503 to every call, at once.")

    @model_validator(mode="after")
    def _one_fault_a_call(self) -> Self:
        if sum(getattr(self, name) for name in FAULT_FIELDS) > 1 + 1e-9:
            raise ValueError("The fault probabilities add up to more than 1.")
        return self

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The configuration with these settings, the rest at their defaults.

        Raises `InvalidConfig` with one sentence about the first thing wrong."""
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            raise InvalidConfig(_sentence(error)) from None

    def changed(self, settings: Mapping[str, Any]) -> Self:
        """A copy with these settings changed. Raises `InvalidConfig`, as `of` does."""
        return self.of({**self.model_dump(), **settings})


FAULT_FIELDS = tuple(name for name in SimulatorConfig.model_fields if name.startswith("fault_"))


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{field!r} is not a setting of the simulator."
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{field}: {message}." if field else f"{message}."
