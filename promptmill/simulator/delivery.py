"""Sends a reply in its own time, whole or spoilt by a fault."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Mapping

from aiohttp import web

from .dialect import Events, HttpReply
from .faults import Fault
from .latency import Latency
from .text import STAMP

MIN_WRITE_GAP_S = 0.02  # seconds; tokens due closer together than this share a write
BROKEN_JSON = b'{"id": "broken", "choices": [{"index": 0, "message": {"role": '
BROKEN_EVENT = b"data: " + BROKEN_JSON + b"\n\n"

Headers = Mapping[str, str]


async def send_body(
    request: web.Request, reply: HttpReply, headers: Headers, fault: Fault | None
) -> web.StreamResponse:
    """The reply as one JSON body, sent now: the latency has been waited for."""
    if fault is Fault.MALFORMED:
        return json_response(200, BROKEN_JSON, headers)
    body = reply.body()
    if fault is not Fault.CUT_STREAM:
        return json_response(200, body, headers)
    response = web.StreamResponse(headers=headers)
    response.content_type = "application/json"
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    close(request)
    return response


async def send_stream(
    request: web.Request,
    events: Events,
    headers: Headers,
    pace: Latency,
    fault: Fault | None,
    *,
    on_start: Callable[[], None],
) -> web.StreamResponse:
    """The reply as server-sent events at this pace; `on_start` when the status line goes out."""
    await asyncio.sleep(pace.first_token_s)
    response = web.StreamResponse(headers=headers)
    response.content_type = "text/event-stream"
    response.headers["Cache-Control"] = "no-cache"
    on_start()
    await response.prepare(request)
    tokens = events.tokens
    if fault is Fault.CUT_STREAM:
        tokens = tokens[: max(1, len(tokens) // 2)]
    await _write_at_pace(response, events.opening, tokens, pace, _stamped if events.stamped else bytes)
    if fault is Fault.CUT_STREAM:
        close(request)
    elif fault is Fault.MALFORMED:
        await response.write(BROKEN_EVENT + events.closing)
    else:
        await response.write(events.closing)
    return response


def json_response(status: int, body: bytes, headers: Headers) -> web.Response:
    return web.Response(status=status, body=body, headers=headers, content_type="application/json")


def close(request: web.Request) -> None:
    """End the connection after what was written, whatever the headers promised."""
    if request.transport is not None:
        request.transport.close()


def reset(request: web.Request) -> None:
    """End the connection with a TCP reset: lingering for no time makes the close an RST."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _write_at_pace(
    response: web.StreamResponse,
    opening: bytes,
    tokens: list[bytes],
    pace: Latency,
    finish: Callable[[bytes], bytes],
) -> None:
    """`finish` sees what is written just before it is."""
    clock = asyncio.get_running_loop().time
    started_s = clock()
    sent, due, pending = 0, 1 if pace.gap_s else len(tokens), opening
    while sent < len(tokens):
        await response.write(finish(pending + b"".join(tokens[sent:due])))
        pending, sent = b"", due
        if sent < len(tokens):
            await asyncio.sleep(max(MIN_WRITE_GAP_S, started_s + sent * pace.gap_s - clock()))
            # All that is due by the clock: a late wake-up catches up in one write.
            due = max(sent + 1, 1 + int((clock() - started_s) / pace.gap_s))


def _stamped(piece: bytes) -> bytes:
    return piece.replace(STAMP.encode(), b"%04d" % (time.time_ns() // 1_000_000 % 10_000))
