"""The parts of a job that are done, in Redis, so that a retry need not pay for them again.

Best effort, as the ledger: without Redis, or after a day, a part is simply asked for again. The script that
finishes the job deletes them, unless it is a dead letter now.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from redis.exceptions import RedisError

from client import words
from client.wire.keys import KEYS
from client.wire.schemas import EmbedRequest, Usage
from promptmill.dialects import Route

from .embed_split import Part
from .services import JobContext

TTL_S = 86_400  # a day after the last part
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
    """The parts of these names that are there."""
    found: dict[str, Vectored] = {}
    key, redis = KEYS.parts(ctx.job_id), ctx.services.redis
    try:
        kept = set(await cast(Awaitable[list[bytes]], redis.hkeys(key)))
        there = [name for name in names if name.encode() in kept]
        for at in range(0, len(there), _BATCH):
            batch = there[at : at + _BATCH]
            fields = [field for one in batch for field in (one, _beside(one))]
            values = await cast(Awaitable[list[bytes | None]], redis.hmget(key, fields))
            for one, numbers, header in zip(batch, values[::2], values[1::2], strict=True):
                if numbers is not None and header is not None:
                    found[one] = Vectored(numbers, **asdict(_HEADER.validate_json(header)))
    except (RedisError, OSError, ValidationError) as error:
        logger.warning("%s: cannot read all of its parts: %s", ctx.job_id, error)
    return found


async def put(ctx: JobContext, name: str, part: Vectored) -> bool:
    """Keeps a part. False where it cannot."""
    key = KEYS.parts(ctx.job_id)
    try:
        async with ctx.services.redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping={name: part.numbers, _beside(name): _HEADER.dump_json(part)})
            pipe.expire(key, TTL_S)
            await pipe.execute()
    except (RedisError, OSError) as error:
        logger.warning("%s: cannot keep a part: %s", ctx.job_id, error)
        return False
    return True


def _beside(name: str) -> str:
    return f"{name}:told"
