"""Users of a test server, as docs/operations.md sets them up."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import AnyRedis, Server

ROLES = ("producer", "worker", "operator")
PASSWORD = "password"
DOCUMENT = Path(__file__).parents[1] / "docs" / "operations.md"


def documented(role: str) -> list[str]:
    """The rules of `redis-cli ACL SETUSER {role} …` in the document."""
    text = DOCUMENT.read_text().replace("\\\n", " ")
    (line,) = re.findall(rf"^redis-cli ACL SETUSER {role} (.+)$", text, re.MULTILINE)
    return shlex.split(line)


def rights(role: str) -> list[str]:
    """Those of the rules that allow something, and can be taken away."""
    return [rule for rule in documented(role) if rule[0] in "+~&"]


def set_user(
    server: Server, role: str, *, without: Iterable[str] = (), name: str | None = None, namespace: str = ""
) -> str:
    """Makes a user of the role, without some of its rights. Returns the address of the server for it."""
    user, missing = name or role, set(without)
    rules = [rule for rule in documented(role) if rule not in missing]
    if namespace:  # as the document says
        rules = [re.sub(r"^([~&])(?:arq|mill):", rf"\1{{{namespace}}}:", rule) for rule in rules]
    with server.client() as client:
        redis: AnyRedis = client
        redis.execute_command("ACL", "SETUSER", user, "reset", *rules)
    query = f"?namespace={namespace}" if namespace else ""
    return f"unix://{user}:{PASSWORD}@{server.socket}{query}"
