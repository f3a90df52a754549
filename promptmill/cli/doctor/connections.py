"""Are there connections left for another worker and another client?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .finding import Finding

CLIENT_CONNECTIONS = 3  # of one client process, whatever its load
WORKER_CONNECTIONS = 4  # of one worker at most, whatever its load


def check_connections(info: Mapping[str, Any], config: Mapping[str, str]) -> Finding:
    """The server's limit against what is connected and what one more worker and client take."""
    limit = _number(config.get("maxclients", info.get("maxclients")))
    connected = _number(info.get("connected_clients"))
    if limit is None or connected is None:
        return Finding("connections", "unknown", "the limit is not told", "Look at the limit of your plan.")
    found = f"{connected:,} of {limit:,} in use; a worker takes {WORKER_CONNECTIONS}, a client {CLIENT_CONNECTIONS}"
    if limit - connected >= WORKER_CONNECTIONS + CLIENT_CONNECTIONS:
        return Finding("connections", "ok", found)
    return Finding(
        "connections", "warn", found, "Choose a plan with more connections, or run fewer processes."
    )


def _number(value: Any) -> int | None:
    return int(value) if str(value).isdigit() else None
