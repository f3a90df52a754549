"""The job's argument → the request it should be, and where its calls go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from client import words
from client.errors import BadRequest, MillError, ProviderNotConfigured
from client.limits.rules.lanes import model_key
from client.wire.schemas import Attempt, ChatRequest, EmbedRequest
from promptmill.dialects import Route, summarise

from . import ledger, reroute
from .services import JobContext

Request: TypeAlias = ChatRequest | EmbedRequest
_Request = TypeVar("_Request", bound=BaseModel)

logger = words.logger("promptmill.jobs")


@dataclass(frozen=True, slots=True)
class Start:
    """What is known before the first call of a run."""

    route: Route
    admitted: bool  # under the limits of its model
    earlier: list[Attempt]  # of the runs before

    @property
    def next_number(self) -> int:
        return self.earlier[-1].number + 1 if self.earlier else 1


def read_request(
    kind: type[_Request], data: object, error: type[MillError] = BadRequest, refusal: str = ""
) -> _Request:
    """The request. Raises `error`, without quoting the prompt."""
    try:
        return kind.model_validate(data)
    except ValidationError as invalid:
        reason = summarise(invalid)
    raise error(f"{refusal or f'The {kind.__name__} cannot be used'}: {reason}.")


async def find_route(ctx: JobContext, asked: Request, route_to: Callable[[str | None], Route]) -> Start:
    """Where the run's calls go. Raises Reroute where the job belongs into the lane of its model, or, as that has
    no provider, of its next one; ProviderNotConfigured where there is none."""
    try:
        route = route_to(asked.model)
    except ProviderNotConfigured as error:
        if asked.fallbacks:
            logger.warning("%s goes on to %s: %s", ctx.job_id, asked.fallbacks[0], error)
            raise reroute.to_fallback(ctx, asked) from None
        if earlier := await ledger.read(ctx, asked.model or ""):
            error.details["attempts"] = earlier[-1].number
        raise
    admitted = model_key(str(route)) in ctx.limit_keys
    if not admitted and (elsewhere := reroute.to_its_model(ctx, asked)):
        raise elsewhere
    return Start(route, admitted, await ledger.read(ctx, str(route)))
