"""A settings class of one's own, on top of `worker.WorkerSettings`: what its attributes come to.

class WorkerSettings(worker.WorkerSettings):  # run by `arq my_module.WorkerSettings`
    functions = [clean_up, func(send, name="send")]
    on_startup = open_database
    max_jobs = 50

Functions and cron jobs are added to promptmill's, hooks run beside them, and the rest is as arq has it. What cannot be
honoured is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from arq.utils import to_seconds

from client import decode, encode
from settings import Settings

from .options import WorkerUnusable

# arq's name → ours, and how its value is read
_SETTINGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "max_jobs": ("max_jobs", int),
    "max_tries": ("max_tries", int),
    "job_timeout": ("job_timeout_s", to_seconds),
    "keep_result": ("result_ttl_s", to_seconds),
    "job_completion_wait": ("drain_s", to_seconds),
}
# what arq's Worker takes as it is
_PASSED = (
    "queue_name",
    "keep_result_forever",
    "poll_delay",
    "health_check_interval",
    "health_check_key",
    "handle_signals",
    "retry_jobs",
    "allow_abort_jobs",
    "burst",
    "max_burst_jobs",
    "expires_extra_ms",
    "timezone",
    "ctx",
)
_NOT_OURS = "the worker has it from REDIS_URL: take the line out"
_JSON = "promptmill reads and writes JSON only: take the line out"
# arq's name → what alone is right, and why
_REFUSED: dict[str, tuple[Any, str]] = {
    "redis_settings": (None, _NOT_OURS),
    "redis_pool": (None, _NOT_OURS),
    "job_serializer": (encode, _JSON),
    "job_deserializer": (decode, _JSON),
    "queue_read_limit": (None, "a claim takes as many jobs as there is room for: take the line out"),
    "log_results": (False, "a result is its caller's and is not logged: take the line out"),
}


def attributes(cls: type, base: type) -> dict[str, Any]:
    """What the class says, and those between it and `base`."""
    said: dict[str, Any] = {}
    for each in reversed(cls.__mro__[: cls.__mro__.index(base)]):
        said |= vars(each).get("__said__", vars(each))
    return {name: getattr(value, "__func__", value) for name, value in said.items()}


def with_own(settings: Settings, own: Mapping[str, Any]) -> Settings:
    """The settings, with what the class sets in their place. Raises WorkerUnusable."""
    for name, (right, why) in _REFUSED.items():
        if own.get(name, right) not in (right, None):
            raise WorkerUnusable(f"WorkerSettings.{name} cannot be used: {why}.")
    changed = {}
    for name, (setting, read) in _SETTINGS.items():
        if own.get(name) is not None:
            changed[setting] = _read(name, read, own[name])
    return settings.model_copy(update=changed)


def passed(own: Mapping[str, Any]) -> dict[str, Any]:
    """What arq's Worker is given as the class says it."""
    return {name: own[name] for name in _PASSED if name in own}


def _read(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except (TypeError, ValueError):
        raise WorkerUnusable(f"WorkerSettings.{name} cannot be used: {value!r} is no number.") from None
