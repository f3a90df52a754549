"""The parts of a job that are done, in Redis, so that a retry need not pay for them again.

They go to Redis by the engine's outbox, before the run's outcome and under its fencing token: an outage, a drain or a
hand-back costs none. After a day a part is simply asked for again. The script that finishes the job deletes them,
unless it is a dead letter now. Those of a job that failed for good are kept for all: whoever corrects the one text
that was refused, and sends the others again, has them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from typing import cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from redis.exceptions import RedisError

from client import words
from client.wire.schemas import EmbedRequest, Usage
from promptmill.dialects import Route
from worker.unreachable import outlasting

from .embed_split import Part
from .services import JobContext

TTL_S = 86_400  # of a part that is kept for all: a day
_BATCH = 4  # parts a round trip: they may have many megabytes

logger = words.logger("promptmill.jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHeader:
    """What is kept beside the numbers."""

    dimensions: int
    model: str  # as the provider named it
    usage: Usage
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Vectored(PartHeader):
    """A part that is done."""

    numbers: bytes  # little-endian float32, vector after vector


_HEADER = TypeAdapter(PartHeader)


def name(asked: EmbedRequest, route: Route, part: Part) -> str:
    """What a part is kept by: the same only for the same texts, model and options."""
    options = [str(route), asked.dimensions, asked.extra, asked.texts[part.start : part.end]]
    return f"{part.start}:{blake2b(to_json(options), digest_size=12).hexdigest()}"


async def find(ctx: JobContext, names: Sequence[str]) -> dict[str, Vectored]:
    """The parts of these names that are there. Waits for a Redis that is away, rather than pay for them again."""
    found: dict[str, Vectored] = {}
    key, redis = ctx.services.keys.parts(ctx.job_id), ctx.services.redis
    try:
        kept = set(await outlasting(lambda: cast(Awaitable[list[bytes]], redis.hkeys(key))))
        places = [(key, name) for name in names if name.encode() in kept]
        others = [(_for_all(ctx, name), name) for name in names if name.encode() not in kept]
        are_there = await outlasting(partial(_exist, ctx, [other for other, _ in others]))
        places += [place for place, is_there in zip(others, are_there, strict=True) if is_there]
        for at in range(0, len(places), _BATCH):
            batch = places[at : at + _BATCH]
            for (_, name), values in zip(batch, await outlasting(partial(_values, ctx, batch)), strict=True):
                if part := _read(*values):
                    found[name] = part
    except RedisError as error:
        logger.warning("%s: cannot read all of its parts: %s", ctx.job_id, error)
    return found


async def _exist(ctx: JobContext, keys: Sequence[str]) -> list[int]:
    async with ctx.services.redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.exists(key)
        return cast(list[int], await pipe.execute())


async def _values(ctx: JobContext, places: Sequence[tuple[str, str]]) -> list[list[bytes | None]]:
    async with ctx.services.redis.pipeline(transaction=False) as pipe:
        for key, name in places:
            pipe.hmget(key, [name, _beside(name)])
        return cast(list[list[bytes | None]], await pipe.execute())


def keep(ctx: JobContext, name: str, part: Vectored) -> None:
    """Keeps a part, if the job is still this run's when Redis has it. Returns at once."""
    ctx.keep(_fields(name, part))


async def keep_for_all(ctx: JobContext, name: str, part: Vectored) -> None:
    """Keeps a part for whoever asks for the same. Best effort: its job has failed."""
    key = _for_all(ctx, name)
    try:
        async with ctx.services.redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping=_fields(name, part))
            pipe.expire(key, TTL_S)
            await pipe.execute()
    except (RedisError, OSError) as error:
        logger.warning("%s: cannot keep a part: %s", ctx.job_id, error)


def _fields(name: str, part: Vectored) -> dict[str, bytes]:
    return {name: part.numbers, _beside(name): _HEADER.dump_json(part)}


def _read(numbers: bytes | None, header: bytes | None) -> Vectored | None:
    """None where one is gone, or is of another version."""
    if numbers is None or header is None:
        return None
    try:
        return Vectored(numbers, **asdict(_HEADER.validate_json(header)))
    except ValidationError:
        return None


def _for_all(ctx: JobContext, name: str) -> str:
    """A job whose id is like that of no other; its part is kept by what was asked."""
    return ctx.services.keys.parts(f"={name}")


def _beside(name: str) -> str:
    return f"{name}:told"
