"""The checks: facts in, a finding out. None of them asks the server or a provider anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from client.redis.url import ServerAddress
from promptmill.cli.stats import server_name

Level = Literal["ok", "warn", "fail", "unknown"]
OLDEST_VERSION = (6, 2)
_HERE = ("localhost", "127.0.0.1", "::1")
_ADVICE = "Switch on appendonly (appendfsync everysec), or choose a plan with persistence."
MEMORY_WARN = 0.8  # of maxmemory: from here on it is time to act
CLIENT_CONNECTIONS = 3  # of one client process, whatever its load
WORKER_CONNECTIONS = 4  # of one worker at most, whatever its load
HEROKU_S = 30  # from TERM to KILL
CLOSING_S = 5  # what a worker needs after its drain to put back what it did not finish


@dataclass(frozen=True)
class Finding:
    """One line of what was found, and one of what to do about it where there is anything to do."""

    check: str
    level: Level
    found: str
    advice: str | None = None


def has_failed(findings: Iterable[Finding]) -> bool:
    """Whether anything keeps promptmill from working. A warning does not, nor what cannot be known."""
    return any(finding.level == "fail" for finding in findings)


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


def check_transport(target: ServerAddress) -> Finding:
    """TLS, and whether the server's certificate is verified. Shows the host and the port only."""
    if target.unix_socket_path:
        return Finding("transport", "ok", "a unix socket")
    where = _address(target)
    if not target.ssl:
        if target.host in _HERE:
            return Finding("transport", "ok", f"{where}, on this machine")
        return Finding(
            "transport", "warn", f"{where}, without TLS", "Use rediss://, unless the network is yours alone."
        )
    if target.ssl_cert_reqs == "required":
        return Finding("transport", "ok", f"{where}, over TLS, its certificate verified")
    return Finding(
        "transport",
        "warn",
        f"{where}, over TLS, but anyone's certificate is accepted",
        "Verify it with REDIS_SSL_CERT_REQS=required; Heroku's are self-signed, there it has to be so.",
    )


def check_persistence(info: Mapping[str, Any], config: Mapping[str, str]) -> Finding:
    """Append-only file, snapshots, or nothing."""
    if info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            "persistence", "fail", "the append-only file cannot be written", "Make room on its disk."
        )
    appends = config.get("appendonly", "yes" if info.get("aof_enabled") else "no") == "yes"
    if appends:
        return Finding("persistence", "ok", "append-only file: a crash loses about a second")
    save = config.get("save")
    if save is None:
        return Finding(
            "persistence", "unknown", "no append-only file; whether snapshots are taken is not told", _ADVICE
        )
    if save:
        return Finding(
            "persistence", "warn", f"snapshots only ({save}): a crash loses what came after the last", _ADVICE
        )
    return Finding("persistence", "warn", "none: a restart loses every job and every answer", _ADVICE)


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


def check_memory(info: Mapping[str, Any], config: Mapping[str, str]) -> Finding:
    """What is used of maxmemory. A full server drains, and takes nothing new."""
    used, limit = _number(info.get("used_memory")), _number(config.get("maxmemory", info.get("maxmemory")))
    if used is None or limit is None:
        return Finding("memory", "unknown", "what is used is not told", "Look at the memory of your plan.")
    if not limit:
        return Finding("memory", "ok", f"{used:,} bytes in use; maxmemory is not set")
    found = f"{used / limit:.0%} of {limit:,} bytes in use"
    if used < MEMORY_WARN * limit:
        return Finding("memory", "ok", found)
    full = used >= limit
    return Finding(
        "memory",
        "fail" if full else "warn",
        f"{found}: nothing new is taken, what is queued runs" if full else found,
        "Raise maxmemory, let results expire sooner (RESULT_TTL_S), or delete dead letters: `promptmill dead delete`.",
    )


def check_rights(missing: Sequence[str] | None) -> Finding:
    """Whether the user of REDIS_URL may do all that a worker and a producer need."""
    if missing is None:
        return Finding("rights", "unknown", "the server does not tell", "See docs/operations.md, Rights.")
    if not missing:
        return Finding("rights", "ok", "all that a worker and a producer need")
    return Finding(
        "rights",
        "fail",
        f"its user lacks {' '.join(missing)}",
        "Grant them with ACL SETUSER (docs/operations.md, Rights); a producer needs fewer than a worker.",
    )


def check_workers(*, alive: bool, private: bool) -> Finding:
    """Whether a worker has reported its health of late."""
    if alive:
        return Finding("workers", "ok", "alive")
    if private:
        return Finding(
            "workers", "ok", "none, as it is a private server: `run`, `ask` and `up` bring their own"
        )
    return Finding("workers", "warn", "none has reported", "Start one with `arq worker.WorkerSettings`.")


def check_cpu_workers(*, alive: bool, jobs: bool) -> Finding:
    """Whether CPU jobs, if there are any, have a worker."""
    if alive:
        return Finding("cpu workers", "ok", "alive")
    if not jobs:
        return Finding("cpu workers", "ok", "none, and no CPU job waits for one")
    return Finding(
        "cpu workers",
        "warn",
        "none has reported, and CPU jobs wait",
        "Start one with `arq worker.CpuWorkerSettings`.",
    )


def check_unreadable(count: int) -> Finding:
    """Whether there are jobs that our workers cannot read, and so leave alone."""
    if not count:
        return Finding("unreadable", "ok", "every job that has been looked at could be read")
    return Finding(
        "unreadable",
        "warn",
        f"{count:,} {'job is' if count == 1 else 'jobs are'} left for a worker that can read them",
        "Run a stock arq worker for them, or enqueue them with client.encode (docs/from-arq.md).",
    )


def check_drain(drain_s: float) -> Finding:
    """The time that calls in flight get when a worker is told to stop."""
    found = f"{drain_s:g} s for calls in flight when a worker is told to stop"
    if drain_s + CLOSING_S <= HEROKU_S:
        return Finding("drain", "ok", found)
    return Finding(
        "drain",
        "warn",
        f"{found}; Heroku kills after {HEROKU_S} s",
        f"Set DRAIN_S to {HEROKU_S - CLOSING_S} at most where a platform kills after {HEROKU_S} s.",
    )


def _version(text: str) -> tuple[int, ...] | None:
    parts = text.split(".")[:2]
    return tuple(map(int, parts)) if len(parts) == 2 and all(p.isdigit() for p in parts) else None


def _address(target: ServerAddress) -> str:
    if isinstance(target.host, str):
        return f"{target.host}:{target.port}"
    return ", ".join(f"{host}:{port}" for host, port in target.host)


def _number(value: Any) -> int | None:
    return int(value) if str(value).isdigit() else None
