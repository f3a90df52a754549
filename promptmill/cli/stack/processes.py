"""The worker and the simulator: real processes, started as anyone would start them.

The worker gets every setting through its environment, so it has exactly ours; no secret is ever on
a command line.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from pydantic import SecretStr

from client.wire.keys import Keys
from settings import BASE_PATHS, BUILT_IN, ProviderSettings, Settings

from .child import ChildProcess, start_child
from .data_dir import DataDir

READY_LIMIT_S = 15  # for a worker's first sign of life
SIMULATED_LATENCY_S = 0.3  # a provider's answer, about as fast as a small model's

HEALTH_KEY = Keys().health(Keys().queue)  # a private server has no namespaces

_ROOT = Path(__file__).resolve().parents[3]
_SIMULATED_KEY = SecretStr("simulated")


def simulated(settings: Settings, simulator_url: str) -> Settings:
    """A copy of the settings whose every provider is the simulator: no real one can be called with it."""

    def replaced(provider: ProviderSettings) -> ProviderSettings:
        url = simulator_url + BASE_PATHS[provider.kind]
        return provider.model_copy(update={"base_url": url, "api_key": _SIMULATED_KEY})

    urls = {f"{name}_base_url": simulator_url + BASE_PATHS[name] for name in BUILT_IN}
    keys = {f"{name}_api_key": _SIMULATED_KEY for name in BUILT_IN}
    providers = {name: replaced(provider) for name, provider in settings.providers.items()}
    return settings.model_copy(update={**urls, **keys, "providers": providers})


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment from which `settings.load()` makes these settings, on top of this process's own."""
    ours = {
        _variable(name): _text(value)
        for name in Settings.model_fields
        if (value := getattr(settings, name)) is not None
    }
    names = tuple(f"{variable}__" for variable in ours)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in ours and not name.upper().startswith(names)
    }
    return inherited | ours | _python_environment()


def start_simulator(data_dir: DataDir) -> tuple[ChildProcess, str]:
    """A simulator and its URL, at once: the port is chosen here so that the worker can start beside it."""
    port = _free_port()
    command = [*_python("promptmill.simulator"), "--port", str(port), "--latency-s", str(SIMULATED_LATENCY_S)]
    env = {**os.environ, **_python_environment()}
    return start_child("simulator", command, data_dir.log("simulator"), env=env), f"http://127.0.0.1:{port}"


async def until_simulating(simulator: ChildProcess) -> None:
    """Returns once it listens. Raises StackError where it ends, or says nothing for 15 s."""

    async def is_listening() -> bool:
        return "simulator listening on " in simulator.log_text()

    await simulator.until(is_listening, READY_LIMIT_S)


def start_worker(data_dir: DataDir, settings: Settings) -> ChildProcess:
    """A worker on the server that `settings.redis_url` names."""
    command = [*_python("arq"), "worker.WorkerSettings"]
    return start_child("worker", command, data_dir.log("worker"), env=environment_of(settings))


def start_cpu_worker(data_dir: DataDir, settings: Settings) -> ChildProcess:
    """A worker for CPU jobs on the same server. Without any such job in JOB_MODULES it waits, and costs little."""
    command = [*_python("arq"), "worker.CpuWorkerSettings"]
    return start_child("CPU worker", command, data_dir.log("cpu"), env=environment_of(settings))


async def until_working(worker: ChildProcess, data_dir: DataDir) -> None:
    """Returns once it has shown its health in Redis. Raises StackError where it ends, or does not in 15 s."""

    async def is_healthy() -> bool:
        return await data_dir.ask_server(f"EXISTS {HEALTH_KEY}") == ":1"

    await worker.until(is_healthy, READY_LIMIT_S)


def _python(module: str) -> list[str]:
    """-P: a `settings.py` in the caller's directory is not taken for ours."""
    return [sys.executable, "-P", "-m", module]


def _python_environment() -> dict[str, str]:
    env = {"PYTHONUNBUFFERED": "1"}  # or a log's last line is missing when it is wanted most
    if _ROOT.name not in ("site-packages", "dist-packages"):  # a checkout need not be installed
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(_ROOT)]))
    return env


def _variable(field: str) -> str:
    return "PROMPTMILL_DATA_DIR" if field == "data_dir" else field.upper()


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return json.dumps({name: _provider(provider) for name, provider in value.items()})
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _provider(provider: ProviderSettings) -> dict[str, object]:
    key = provider.api_key
    return {
        **provider.model_dump(exclude={"api_key"}),
        **({"api_key": key.get_secret_value()} if key else {}),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
