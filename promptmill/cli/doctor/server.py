"""Is it a server that can hold a queue?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptmill.cli.stats import server_name

from .finding import Finding

OLDEST_VERSION = (6, 2)


def check_version(info: Mapping[str, Any]) -> Finding:
    """Valkey answers with the Redis version it is compatible with, which is the one that counts."""
    name = server_name(info)
    version = _version(str(info.get("redis_version", "")))
    if version is None:
        return Finding("server", "unknown", name, "Make sure that it is Valkey, or Redis 6.2 or newer.")
    if version < OLDEST_VERSION:
        return Finding("server", "fail", name, "Upgrade to Valkey, or to Redis 6.2 or newer.")
    return Finding("server", "ok", name)


def check_eviction(info: Mapping[str, Any], config: Mapping[str, str]) -> Finding:
    """A server that evicts keys when it is full throws jobs and answers away."""
    policy = config.get("maxmemory-policy") or info.get("maxmemory_policy")
    if policy is None:
        return Finding("eviction", "unknown", "the policy is not told", "Make sure that it is noeviction.")
    if policy == "noeviction":
        return Finding("eviction", "ok", "noeviction")
    return Finding(
        "eviction",
        "fail",
        f"{policy}: jobs and answers are thrown away when memory is full",
        "Set maxmemory-policy to noeviction (on Heroku: `heroku redis:maxmemory --policy noeviction`).",
    )


def _version(text: str) -> tuple[int, ...] | None:
    parts = text.split(".")[:2]
    return tuple(map(int, parts)) if len(parts) == 2 and all(p.isdigit() for p in parts) else None
