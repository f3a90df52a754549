"""Whether a call that was cut off had a connection."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp.connector import Connection

NEVER_CONNECTED = "no connection was made"  # a note


class Connector(aiohttp.TCPConnector):
    """A call that is cut off while it has no connection yet, by its time limit or because its job is, says so."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        try:
            return await super().connect(req, traces, timeout)
        except asyncio.CancelledError as error:
            error.add_note(NEVER_CONNECTED)
            raise


def never_connected(error: BaseException | None) -> bool:
    """Whether a call that ended in this, a cancellation or the TimeoutError that came of it, had no connection."""
    cut_off = error.__cause__ if isinstance(error, TimeoutError) else error
    return isinstance(cut_off, asyncio.CancelledError) and NEVER_CONNECTED in getattr(
        cut_off, "__notes__", ()
    )
