"""`promptmill simulator`: runs the provider until it is told to stop."""

import asyncio
import contextlib
import resource
import signal
from typing import Any

import click

from .app import serve
from .config import InvalidConfig, SimulatorConfig

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


def _config_flags() -> list[click.Parameter]:
    """One flag for each field of the configuration, with its default and description."""
    flags: list[click.Parameter] = []
    for name, field in SimulatorConfig.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        kind: type = float
        if field.annotation is bool:
            flag, kind = f"{flag}/--no-{name}", bool
        elif "int" in str(field.annotation):
            kind = int
        flags.append(
            click.Option(
                [flag, name],
                type=kind,
                default=field.default,
                show_default=field.default is not None,
                help=field.description,
            )
        )
    return flags


def _raise_open_file_limit() -> None:
    """A socket a call: thousands of calls need more than the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 65_536)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _run(config: SimulatorConfig, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(config, host=host, port=port) as url:
        click.echo(f"simulator listening on {url}")
        await stop.wait()


@click.command(params=_config_flags())
@click.option(
    "--host",
    type=click.Choice(LOOPBACK_HOSTS),
    default=LOOPBACK_HOSTS[0],
    show_default=True,
    help="Address to listen on; it takes any key, so this machine only.",
)
@click.option("--port", default=0, show_default=True, help="Port to listen on; 0 picks one.")
def simulator(host: str, port: int, **settings: Any) -> None:
    """Run the simulated provider.

    It speaks OpenAI's, Anthropic's and Google's APIs, with latency, limits and faults.
    """
    try:
        config = SimulatorConfig.of(settings)
    except InvalidConfig as invalid:
        raise click.UsageError(str(invalid)) from None
    _raise_open_file_limit()
    asyncio.run(_run(config, host, port))
