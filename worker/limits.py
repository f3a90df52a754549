"""Settings → the limits that a worker puts in force when it starts, and what its models are called."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from arq import ArqRedis

from client import InvalidRequest, Limit, Limits
from client.limits.rules.lanes import model_key
from client.limits.rules.limit import checked_name, made, parse_limit
from client.redis.connection import keys_at, reachable
from client.redis.note import note
from settings import Settings, SettingsError

ALIASES_TTL_S = 7 * 86_400  # a client that asks why a job waits knows the default models for so long


def configured(settings: Settings) -> dict[str, Limit]:
    """The limits of LIMITS and LIMITS_FILE; LIMITS wins, key by key. Raises SettingsError."""
    return _of_file(settings.limits_file) | _of_text(settings.limits)


def aliases(settings: Settings) -> dict[str, str]:
    """What the first part of a lane's name stands for where its job names no model or no provider."""
    models = {"@chat": settings.default_model, "@embed": settings.default_embed_model}
    return {alias: checked_name(model_key(model)) for alias, model in models.items()}


async def publish(redis: ArqRedis, settings: Settings, limits: dict[str, Limit]) -> list[str]:
    """Puts the limits in force and says what the aliases are. Returns the keys that were changed."""
    keys = keys_at(redis)
    with reachable():
        await note(redis, keys, keys.aliases, ALIASES_TTL_S, aliases(settings))
    return await Limits(redis).seed(limits)


def _of_text(text: str | None) -> dict[str, Limit]:
    """`openai/gpt-4o concurrency=50 rpm=600, tenant:* concurrency=5`"""
    found: dict[str, Limit] = {}
    for entry in filter(str.strip, (text or "").split(",")):
        key, *words = entry.split()
        found |= _entry("LIMITS", key, words, found)
    return found


def _of_file(path: str | None) -> dict[str, Limit]:
    """A table for each key: `["openai/gpt-4o"]`, then `rpm = 600`."""
    if path is None:
        return {}
    where = f"LIMITS_FILE, {path},"
    try:
        tables = tomllib.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{where} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # TOML's own, and bytes that are no UTF-8
        raise SettingsError(f"{where} is not TOML: {error}.") from None
    found: dict[str, Limit] = {}
    for key, table in tables.items():
        found |= _entry(where, key, table, found)
    return found


def _entry(where: str, key: str, said: Any, before: dict[str, Limit]) -> dict[str, Limit]:
    """One limit, in words or as a table."""
    try:
        name = checked_name(key)
        if not isinstance(said, list | dict):
            raise InvalidRequest(f'a limit is a table: write ["{key}"] on a line of its own.')
        limit = parse_limit(said) if isinstance(said, list) else made(said)
        if not limit.fields():
            raise InvalidRequest("it limits nothing: give it a field, such as concurrency=50.")
        if name in before:
            raise InvalidRequest("it is there twice.")
    except InvalidRequest as error:
        raise SettingsError(f"{where} cannot be used for {key}: {error}") from None
    return {name: limit}
