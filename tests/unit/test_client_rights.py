"""What users of Redis need: the lists, the documented lines, and what a server's refusals are taken for."""

from __future__ import annotations

from functools import reduce
from operator import or_

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from client.redis.rights import PRODUCER, WORKER, Needs, RightsMissing, needs_of, refused_rights
from client.redis.texts import code
from client.wire.keys import KEYS
from tests.acl import ROLES, documented

OPTIONAL = {"+info", "+config|get"}


def needs(room: str, *verbs: str) -> Needs:
    return reduce(or_, (needs_of(code(room, verb)) for verb in verbs))


SLOTS = needs("client.limits", "acquire", "release", "hold")
CLIENT = needs("client", "enqueue", "look") | PRODUCER
SCRIPTS = {
    "producer": CLIENT | SLOTS | needs("client", "abort") | needs("client.limits", "explain"),
    "worker": CLIENT
    | SLOTS
    | needs("worker.engine", "claim", "renew", "finish", "keep")
    | needs("worker.jobs", "count")
    | needs("worker.streams", "relay")
    | needs("client", "note")
    | needs("client.limits", "seed"),
    "operator": CLIENT
    | needs("client", "abort", "revive")
    | needs("client.limits", "explain", "seed", "change", "evict", "reset"),
}


def test_a_worker_asks_at_its_start_for_all_that_its_scripts_do() -> None:
    scripts = SCRIPTS["worker"]
    assert scripts.commands <= WORKER.commands
    assert scripts.names <= WORKER.names
    assert WORKER.names <= KEYS.names().keys()


@pytest.mark.parametrize("role", ROLES)
def test_the_documented_lines_hold_all_that_scripts_do(role: str) -> None:
    rules = set(documented(role))
    wanted = {f"+{command.lower()}" for command in SCRIPTS[role].commands}
    assert wanted <= rules
    assert {"~arq:*", "~mill:*", "&mill:*", "-@all", "+evalsha", "+script|load", "+ping"} <= rules
    assert (rules >= OPTIONAL) == (role == "operator")


@pytest.mark.parametrize(
    ("error", "rights"),
    [
        (NoPermissionError("this user has no permissions to run the 'info' command or its subcommand"), "+info"),
        (NoPermissionError("User bob has no permissions to run the 'script|load' command"), "+script|load"),
        (NoPermissionError("No permissions to access a channel"), "&mill:*"),
        (NoPermissionError("this user has no permissions to access one of the keys used"), "~arq:* ~mill:*"),
        (ResponseError("ACL failure in script: No permissions to access the 'mill:x' key"), "~arq:* ~mill:*"),
        (ResponseError("The user executing the script can't run this command or subcommand script: f"), "a command"),
        (RightsMissing("+zadd &mill:*"), "+zadd &mill:*"),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), None),
        (ConnectionError("Connection refused"), None),
    ],
)  # fmt: skip
def test_a_refusal_names_the_right(error: Exception, rights: str | None) -> None:
    assert refused_rights(error) == rights
