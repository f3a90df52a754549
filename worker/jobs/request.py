"""The job's argument → the request it should be, and where its calls go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from client import words
from client.errors import BadRequest, JobError, MillError, ProviderNotConfigured, SlotTimeout
from client.limits.rules.lanes import model_key
from client.wire.schemas import Attempt, ChatRequest, EmbedRequest
from promptmill.dialects import Route, summarise

from . import ledger, reroute
from .failure import concluded, pass_over
from .services import JobContext

Request: TypeAlias = ChatRequest | EmbedRequest
_Request = TypeVar("_Request", bound=BaseModel)

# Why a limit key takes no calls for long, as client/limits/lua/room.lua says it
_WHY = {
    "cooldown": "has been refusing calls",
    "probe": "has been refusing calls",
    "paused": "is paused",
    "closed": "has a concurrency of 0",
    "rpd": "has used up its requests of the day",
    "tpd": "has used up its tokens of the day",
    "usd_total": "has spent its budget",
    "usd_per_day": "has spent its budget of the day",
}

logger = words.logger("promptmill.jobs")


@dataclass(frozen=True, slots=True)
class Start:
    """What is known before the first call of a run."""

    route: Route
    admitted: bool  # under the limits of its model
    earlier: list[Attempt]  # of the runs before

    @property
    def translated(self) -> bool:
        """Whether the request was written for another model, or in another form, than that of the route."""
        route = str(self.route)
        return self.route.provider.kind != "openai" or any(past.model != route for past in self.earlier)

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
    no provider or takes no calls, of its next one; ProviderNotConfigured where there is none."""
    try:
        route = route_to(asked.model)
    except ProviderNotConfigured as error:
        raise await _passing(ctx, asked, asked.model or "", error) from None
    if ctx.shut and asked.fallbacks:
        closed = SlotTimeout(f"{route} takes no calls now: {_why(ctx.shut)}.")
        raise await _passing(ctx, asked, str(route), closed, route.provider.kind)
    admitted = model_key(str(route)) in ctx.limit_keys
    if not admitted and (elsewhere := reroute.to_its_model(ctx, asked)):
        raise elsewhere
    return Start(route, admitted, await ledger.read(ctx, str(route)))


def _why(shut: str) -> str:
    """What the claim says, a limit key and a word, in words."""
    key, _, why = shut.rpartition(" ")
    return f"{key} {_WHY.get(why, why)}"


async def _passing(
    ctx: JobContext, asked: Request, model: str, error: JobError, kind: str | None = None
) -> Exception:
    """What follows where `model` is not called: the way to the next one, or the error."""
    earlier = await ledger.read(ctx, model)
    if not asked.fallbacks:
        return concluded(error, earlier)
    logger.warning("%s goes on to %s: %s", ctx.job_id, asked.fallbacks[0], error)
    pass_over(ctx, earlier[-1].number + 1 if earlier else 1, model, error)
    return reroute.to_fallback(ctx, asked, kind)
