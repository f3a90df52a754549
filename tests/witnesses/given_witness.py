"""Providers that are not ours, as processes on this machine, and one physical call to each in all its forms."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.wire.schemas import ChatRequest
from promptmill.dialects import ChatAnswer, Delta, Route
from promptmill.dialects.rates import SeenRates
from settings import Settings
from tests.conftest import wait_blocking
from tests.worker.processes import processes_in
from worker.calls import LLM

GREETING = "Grüezi 😀 mitenand!"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def served(package: str, directory: Path, *arguments: str) -> Iterator[str]:
    """The URL of `package serve`. Where the package is missing, the test is skipped, but in CI it fails."""
    if find_spec(package) is None:
        missing = f"{package} is not installed: it comes with the extra `dev`."
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    program = Path(sys.executable).with_name(package)
    command = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port)]
    with processes_in(directory) as processes, httpx.Client(trust_env=False) as http:
        process = processes.start([*command, *arguments], {})

        def answers() -> bool:
            assert process.alive, process.text()
            with suppress(httpx.TransportError):
                return http.get(url).status_code > 0
            return False

        wait_blocking(answers, description=f"{package} answers", timeout_s=30)
        yield url


class Witness:
    """A caller of hosts that are not ours: `hosts` are names, with the kind of API and the path each has at `url`."""

    def __init__(self, url: str, hosts: dict[str, tuple[str, str]]) -> None:
        self.rates: dict[str, SeenRates] = {}
        providers = {
            name: {"base_url": url + path, "kind": kind, "api_key": "key-Zx81kkQqLm9"}
            for name, (kind, path) in hosts.items()
        }
        settings: dict[str, Any] = {"providers": providers}
        self.llm = LLM.open(Settings(_env_file=None, **settings), observe=self._seen)

    def _seen(self, route: Route, rates: SeenRates) -> None:
        self.rates[route.provider.name] = rates

    async def ask(self, host: str, text: str, *, stream: bool = False, **fields: Any) -> ChatAnswer:
        """The answer to `text`; where it is streamed, its pieces were those of the whole."""
        messages = fields.pop("messages", [{"role": "system", "content": "Be kind."}, user(text)])
        request = ChatRequest.model_validate({"messages": messages, "model": f"{host}/some-model", **fields})
        if not stream:
            return await self.llm.chat(request, call_id="c1")
        deltas: list[Delta] = []
        answer = await self.llm.chat_stream(request, call_id="c1", on_delta=deltas.append)
        assert "".join(delta.text for delta in deltas) == answer.text
        return answer


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def after_a_tool() -> list[dict[str, Any]]:
    """A conversation whose tool has answered."""
    function = {"name": "get_weather", "arguments": '{"city": "Bern"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    return [
        user("What is the weather?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"},
    ]
