"""arq's form of a Redis URL, for producers that have arq; the one module of the client that needs it.

create_pool(redis_settings(url), job_serializer=encode, job_deserializer=decode)
"""

from __future__ import annotations

from dataclasses import asdict

from arq.connections import RedisSettings

from .redis.url import server_address


def redis_settings(url: str, *, ssl_cert_reqs: str | None = None) -> RedisSettings:
    """The RedisSettings of a URL, whose forms are those of Queue.from_url. Raises InvalidRedisURL."""
    return RedisSettings(**asdict(server_address(url, ssl_cert_reqs=ssl_cert_reqs)))
