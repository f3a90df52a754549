"""Where a job belongs: in the lane of its model, so that it is admitted under that model's limits."""

from __future__ import annotations

from client import decode, encode
from client.limits.rules import estimate, lanes
from client.wire.extras import scoped
from client.wire.keys import Keys
from client.wire.lane import place_of
from client.wire.reservation import reserving
from client.wire.schemas import ChatRequest, EmbedRequest
from worker.signals import Reroute

from .services import JobContext


def to_its_model(ctx: JobContext, asked: ChatRequest | EmbedRequest) -> Reroute | None:
    """The way to the lane of the job's own model; None where the job is in it already."""
    lane = lane_for(asked, ctx.lane)
    return (
        None if lane == ctx.lane else Reroute(lane, payload_for(ctx.services.keys, ctx.payload, lane, asked))
    )


def to_fallback(ctx: JobContext, asked: ChatRequest | EmbedRequest, kind: str | None = None) -> Reroute:
    """The way to the next of `asked.fallbacks`: the same request to another model. `kind` is of the API that its
    `extra` was written for, where that is known: what has another does not get it."""
    model, *rest = asked.fallbacks
    extra = scoped(asked.extra, kind) if kind else asked.extra
    request = asked.model_copy(update={"model": model, "fallbacks": rest, "extra": extra})
    lane = lane_for(request, ctx.lane)
    return Reroute(lane, payload_for(ctx.services.keys, ctx.payload, lane, request))


def lane_for(asked: ChatRequest | EmbedRequest, lane: str) -> str:
    """The name of `lane` with its model, the first of its parts, replaced or put in front.

    A request that leaves the provider or the model to the worker gets the alias that its client would have
    used: two workers, one of them with newer settings, do not hand the job to and fro.
    """
    kind: lanes.Kind = "chat" if isinstance(asked, ChatRequest) else "embed"
    return lanes.joined(lanes.model_part(asked.model, kind), *place_of(lane))


def payload_for(keys: Keys, payload: bytes, lane: str, asked: ChatRequest | EmbedRequest) -> bytes:
    """The job's record for that lane, with the model and the fallbacks of `asked`; all else is as it was.

    It reserves what it is admitted by, which the record of a plain arq client lacks.
    """
    job = decode(payload)
    job["q"] = keys.lane(lane)
    given = job["a"][0] if job["a"] else job["k"]["request"]
    if given.get("fallbacks", []) != asked.fallbacks:
        given.update(model=asked.model, fallbacks=asked.fallbacks)
        if asked.extra:
            given["extra"] = asked.extra
    tokens = job.pop("n", None) or estimate.input_tokens(asked)
    output_tokens = job.pop("m", None) or estimate.output_tokens(asked)
    job.pop("o", None)
    return reserving(encode(job), tokens, output_tokens, len(asked.fallbacks))
