"""The Lua that admits and releases, in front of each script that needs it."""

from __future__ import annotations

from importlib.resources import files

from ..wire import keys

_SHARED = ("state", "room", "congestion", "gates", "leases")  # each follows the one before

# Names that the shared Lua needs of keys.py; it builds no key of its own.
_NAMES = {
    "queue": keys.QUEUE,
    "elsewhere_ms": keys.ELSEWHERE_MS,
    "limits": keys.LIMITS,
    "lanes": keys.LANES,
    "cpu_lanes": keys.CPU_LANES,
    "cpu": keys.lane("cpu|"),
    "gates": keys.GATES,
    "wake": keys.WAKE_CHANNEL,
    "lane": keys.lane(""),
    "flow": keys.flow(""),
    "slots": keys.slots(""),
    "blocked": keys.blocked(""),
    "stream": keys.stream(""),
    "events": keys.events_channel(""),
}


def with_limits(verb: str) -> str:
    """The source of a script that begins with the shared Lua; `verb` is its own part."""
    names = ", ".join(f"{name} = '{key}'" for name, key in _NAMES.items())
    return "\n".join((f"local KEY = {{ {names} }}", *map(source, _SHARED), verb))


def source(name: str) -> str:
    """The text of a Lua file of this room."""
    return files(__package__).joinpath("lua", f"{name}.lua").read_text()
