"""A word with the private server over its socket, without a client library: start-up stays quick."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

ANSWER_TIMEOUT_S = 1


async def ask_server(socket: Path, command: str) -> str | None:
    """The first line of the server's answer to a command without spaces in its words, as in RESP
    (`+PONG`, `:1`, `-LOADING …`), or None where nobody answers within a second."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(f"{command}\r\n".encode())
                return (await reader.readline()).decode().rstrip() or None
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    return None
