"""The one way every call takes: arrive, be admitted, be served or spoilt, be counted."""

import asyncio
from random import Random
from uuid import uuid4

from aiohttp import web
from pydantic_core import to_json

from .admission import UNEXPLAINED, Admission
from .config import SimulatorConfig
from .delivery import json_response, reset, send_body, send_stream
from .dialect import Dialect, HttpReply, ReadCall, Refused
from .faults import Fault, draw_fault
from .latency import draw_latency_s, pace_of
from .stats import RequestStats

CLIENT_ID_HEADER = "x-client-request-id"


class Simulator:
    """The provider's state: its configuration, its caps, its dice and its counts."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.stats = RequestStats()
        self.admission = Admission(config)
        self.dice = Random(config.seed)

    def configure(self, config: SimulatorConfig, *, reseed: bool) -> None:
        """From the next call on, behave like this. Calls being served go on as they began."""
        self.config = config
        self.admission.configure(config)
        if reseed:
            self.dice.seed(config.seed)


class Endpoint:
    """Serves one path: a dialect, and how its calls are read."""

    def __init__(self, simulator: Simulator, dialect: Dialect, read: ReadCall) -> None:
        self._simulator = simulator
        self._dialect = dialect
        self._read = read

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        stats = self._simulator.stats
        stats.arrive(request.headers.get(CLIENT_ID_HEADER))
        request_id = f"req_{uuid4().hex}"
        headers = {self._dialect.request_id_header: request_id}
        try:
            return await self._serve(request, headers)
        except Refused as refused:
            stats.answer(refused.status)
            stats.refused_429 += refused.status == 429
            body = dict(refused.body)
            if "type" in body:  # Anthropic's envelope names the request
                body["request_id"] = request_id
            return json_response(refused.status, to_json(body), {**headers, **refused.headers})
        except asyncio.CancelledError:
            stats.cancelled += 1
            raise
        except ConnectionError as gone:
            # The client hung up between two writes. Cancelled is what it is, and aiohttp would
            # log any other exception as a server error.
            stats.cancelled += 1
            raise asyncio.CancelledError from gone

    async def _serve(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        reply = await self._accept(request)
        simulator = self._simulator
        rejection = simulator.admission.admit(
            tokens=reply.input_tokens + reply.output_tokens, open_calls=simulator.stats.open
        )
        headers |= self._dialect.limit_headers(simulator.admission.allowances())
        if rejection is not None:
            raise self._dialect.over_limit(rejection, reply.model)
        simulator.stats.open_one()
        try:
            return await self._answer(request, reply, headers)
        finally:
            simulator.stats.close_one()

    async def _accept(self, request: web.Request) -> HttpReply:
        if self._simulator.config.down:
            self._simulator.stats.faults["down"] += 1
            raise self._dialect.down()
        self._dialect.authenticate(request.headers)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise self._dialect.body_too_large() from None
        return self._read(body, self._simulator.config)

    async def _answer(
        self, request: web.Request, reply: HttpReply, headers: dict[str, str]
    ) -> web.StreamResponse:
        config, stats, dice = self._simulator.config, self._simulator.stats, self._simulator.dice
        fault = draw_fault(config, dice)
        latency_s = draw_latency_s(config, dice)
        if fault is not None:
            stats.faults[fault] += 1
            await self._fail_early(fault, reply.model)
        if fault is Fault.RESET:
            await asyncio.sleep(latency_s)
            reset(request)
            return web.Response()
        if reply.events is None:
            await asyncio.sleep(latency_s)
            stats.answer(200)
            response = await send_body(request, reply, headers, fault)
        else:
            pace = pace_of(config, latency_s, reply.output_tokens)
            response = await send_stream(
                request, reply.events(), headers, pace, fault, on_start=lambda: stats.answer(200)
            )
        if fault is None:
            client_id = request.headers.get(CLIENT_ID_HEADER)
            stats.complete(client_id, reply.input_tokens, reply.output_tokens)
        return response

    async def _fail_early(self, fault: Fault, model: str) -> None:
        if fault is Fault.RATE_LIMITED:
            raise self._dialect.over_limit(UNEXPLAINED, model)
        if fault is Fault.SERVER_ERROR:
            raise self._dialect.server_error()
        if fault is Fault.OVERLOADED:
            raise self._dialect.overloaded()
        if fault is Fault.HANG:
            await asyncio.Event().wait()
