"""The text of a script: its own file, behind the shared files that it needs.

Each file of Lua begins with its contract. It names the shared files that it needs (`-- needs: state, room`), which are
read before it, each once and with their own needs. KEY.name is a name of client/wire/keys.py, and FACT.name what else
both sides have to agree on; no Lua makes up a name of its own.

Redis runs the whole text at each call, all definitions included. So names, facts and constants (`local MAX_LANES = 64`)
are written in where they are used, and functions that nothing in this script calls are left out.
"""

from __future__ import annotations

import re
from collections import deque
from functools import cache
from importlib.resources import files

from ..wire.events import FIELD, RESET
from ..wire.keys import ATTEMPTS_TTL_S, ELSEWHERE_MS, MAX_ATTEMPTS, Keys
from ..wire.reservation import FALLBACK_AFTER_MS, FALLBACK_LIFE_SHARE

CLIENT = __name__.removesuffix(".redis.texts")  # whatever it is called where it is vendored
_NEEDS = re.compile(r"^-- needs: (.+)$", re.MULTILINE)
_COMMENT = re.compile(r"^ *(?:--.*)?\n| *--.*", re.MULTILINE)  # a blank line too
_CAPITALS = re.compile(r"(?<![\w.'])[A-Z][A-Z0-9_]+\b(?!\s*=[^=])")
_ONE = r"(?:'[^']*'|[-+*/(). \dA-Z_e]+)"  # a text, or a sum of numbers
_CONSTANT = re.compile(
    rf"^local ([A-Z][A-Z0-9_]+(?:, [A-Z][A-Z0-9_]+)*) = ({_ONE}(?:, {_ONE})*)\n", re.MULTILINE
)
_FUNCTION = re.compile(r"^local function (\w+)\((?:.* end\n|.*\n(?:.*\n)*?end\n)", re.MULTILINE)
_FACTS = {
    "elsewhere_ms": ELSEWHERE_MS,
    "event_field": repr(FIELD),
    "reset": repr(RESET.decode()),
    "attempts_ttl_ms": ATTEMPTS_TTL_S * 1000,
    "max_attempts": MAX_ATTEMPTS,
    "fallback_ms": FALLBACK_AFTER_MS,
    "fallback_share": FALLBACK_LIFE_SHARE,
}


@cache
def code(room: str, verb: str) -> str:
    """A verb in a package's folder `lua` behind all that it needs, the names still to be written in."""
    return _joined(_read(room, verb), room)


@cache
def source(room: str, verb: str, keys: Keys, *, if_full: bool = False) -> str:
    """The whole text of a script; `if_full`, behind a write that a full server takes: of what is never there."""
    if if_full:
        return f"redis.call('DEL', {keys.nothing!r})\n{source(room, verb, keys)}"
    return whole(_read(room, verb), room, keys)


def whole(text: str, room: str, keys: Keys) -> str:
    """`text` behind all that it needs. Raises KeyError on a name that is none."""
    names: dict[str, object] = {f"KEY.{name}": repr(key) for name, key in keys.names().items()}
    aside = {  # no rights are needed for them
        "ours": "\n".join(keys.names().values()),
        "set_aside": keys.set_aside(""),
        "prefix": keys.prefix,
    }
    aside |= {name: keys.names()[name] for name in ("aside", "nothing", "limits", "limits_seeded")}
    names |= {f"FACT.{name}": fact for name, fact in _FACTS.items()}
    names |= {f"FACT.{name}": repr(key) for name, key in aside.items()}
    return re.sub(
        r"\b(?:KEY|FACT)\.\w+", lambda name: str(names[name[0]]), _called(_folded(_joined(text, room)))
    )


def _joined(text: str, room: str) -> str:
    shared: dict[str, str] = {}

    def need(part: str) -> None:
        for name in (name for names in _NEEDS.findall(part) for name in names.split(", ")):
            if name not in shared:
                need(_read(room, name))
                shared[name] = _read(room, name)

    need(text)
    parts = [*shared.values(), text]
    # A function looks for what it uses among all variables of its chunk. What all use stands outside of it.
    if "clock" in shared:
        behind = [*shared].index("clock") + 1
        parts[behind:] = ["return (function()", *parts[behind:], "end)()"]
    return "\n".join(parts)


def _folded(text: str) -> str:
    """Without comments, and each constant written in where it is used."""
    known: dict[str, str] = {}

    def written_in(part: str) -> str:
        return _CAPITALS.sub(lambda name: known.get(name[0], name[0]), part)

    text = _COMMENT.sub("", text)
    for names, values in _CONSTANT.findall(text):
        each = (one if one[0] == "'" else f"({written_in(one)})" for one in values.split(", "))
        known |= zip(names.split(", "), each, strict=True)
    return written_in(_CONSTANT.sub("", text))


def _called(text: str) -> str:
    """Without the functions that nothing behind them names."""
    parts, names, end = deque[str](), set[str](), len(text)

    def keep(part: str) -> None:
        parts.appendleft(part)
        names.update(re.findall(r"\w+", part))

    for function in reversed([*_FUNCTION.finditer(text)]):
        keep(text[function.end() : end])
        if function[1] in names:
            keep(function[0])
        end = function.start()
    return "".join((text[:end], *parts))


@cache
def _read(room: str, name: str) -> str:
    folders = (files(package).joinpath("lua") for package in (room, CLIENT, f"{CLIENT}.limits"))
    return next(file for folder in folders if (file := folder.joinpath(f"{name}.lua")).is_file()).read_text(
        encoding="utf-8"
    )
