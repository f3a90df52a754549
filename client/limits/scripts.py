"""The Lua that admits and releases, in front of each script that needs it."""

from __future__ import annotations

from importlib.resources import files

from ..wire.keys import ELSEWHERE_MS, KEYS

_SHARED = ("state", "room", "congestion", "gates", "leases")  # each follows the one before

# Names that the shared Lua needs of keys.py; it builds no key of its own.
_NAMES = {
    "queue": KEYS.queue,
    "elsewhere_ms": ELSEWHERE_MS,
    "limits": KEYS.limits,
    "lanes": KEYS.lanes,
    "cpu_lanes": KEYS.cpu_lanes,
    "cpu": KEYS.lane("cpu|"),
    "gates": KEYS.gates,
    "wake": KEYS.wake_channel,
    "lane": KEYS.lane(""),
    "flow": KEYS.flow(""),
    "slots": KEYS.slots(""),
    "blocked": KEYS.blocked(""),
    "stream": KEYS.stream(""),
    "events": KEYS.events_channel(""),
}


def with_limits(verb: str) -> str:
    """The source of a script that begins with the shared Lua; `verb` is its own part."""
    names = ", ".join(f"{name} = '{key}'" for name, key in _NAMES.items())
    return "\n".join((f"local KEY = {{ {names} }}", *map(source, _SHARED), verb))


def source(name: str) -> str:
    """The text of a Lua file of this room."""
    return files(__package__).joinpath("lua", f"{name}.lua").read_text()
