"""A worker that cannot start says why in one sentence and ends with an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Server
from tests.worker.processes import Process, Processes

NOWHERE = "unix:///nowhere/at/all.sock"

MODULES = {
    "plain.py": "from worker import job\n\n@job\ndef plain():\n    return 1\n",
    "ours.py": "from worker import job\n\n@job\nasync def chat(question): ...\n",
}

REFUSED = {
    "MAX_JOBS": ({"REDIS_URL": NOWHERE, "MAX_JOBS": "many"}, "MAX_JOBS cannot be used: "),
    "no REDIS_URL": ({}, "REDIS_URL is not set: "),
    "scheme": (
        {"REDIS_URL": "http://localhost"},
        "REDIS_URL: The Redis URL cannot be used: it must start with",
    ),
    "down": ({"REDIS_URL": NOWHERE}, "REDIS_URL: Redis cannot be reached: "),
    "plain": ({"JOB_MODULES": "plain"}, "@job takes a coroutine function: write `async def plain`, or"),
    "ours": ({"JOB_MODULES": "ours"}, "A job of JOB_MODULES is named 'chat', as one of promptmill's own"),
    "LIMITS": ({"REDIS_URL": NOWHERE, "LIMITS": "openai rpm=x"}, "LIMITS cannot be used for openai: rpm is "),
    "LIMITS_FILE": ({"REDIS_URL": NOWHERE, "LIMITS_FILE": "no.toml"}, "LIMITS_FILE, no.toml, cannot be read"),
    "absent": ({"JOB_MODULES": "absent"}, "JOB_MODULES names absent, which cannot be imported: "),
}


def starting(processes: Processes, settings: dict[str, str]) -> Process:
    for name, source in MODULES.items():
        Path(processes.directory, name).write_text(source)
    return processes.arq(**{**({"REDIS_URL": NOWHERE} if "JOB_MODULES" in settings else {}), **settings})


@pytest.fixture
def locked_server(own_server: Server) -> Server:
    with own_server.client() as client:
        client.config_set("requirepass", "right-Zebra")
    return own_server


async def test_each_fault_of_the_settings_is_one_sentence_that_shows_no_password(
    locked_server: Server, processes: Processes
) -> None:
    locked = {"REDIS_URL": locked_server.url.replace("unix://", "unix://:wrong-Zebra@")}
    refused = {**REFUSED, "password": (locked, "Error: REDIS_URL: Redis ")}
    started = {name: (starting(processes, settings), words) for name, (settings, words) in refused.items()}
    for name, (process, words) in started.items():
        assert await process.ended(30) == 1, name
        (line,) = process.text().splitlines()
        assert line.startswith("Error: "), name
        assert words in line, line
        assert "Zebra" not in line
