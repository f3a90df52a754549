"""Wires the routes and serves them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
from aiohttp import web
from pydantic_core import to_json

from .anthropic import SimulatedAnthropic
from .anthropic_messages import read_message
from .calls import Endpoint, Simulator
from .config import InvalidConfig, SimulatorConfig
from .delivery import json_response
from .dialect import ReadCall, Refused, parse_object
from .gemini import SimulatedGemini
from .gemini_content import read_content
from .gemini_embeddings import read_batch
from .openai import SimulatedOpenAI, error
from .openai_chat import read_chat
from .openai_embeddings import read_embeddings

BODY_LIMIT_BYTES = 32 * 1024 * 1024
BACKLOG = 4096  # connections the kernel may hold for us while a crowd arrives at once
STOP_TIMEOUT_S = 0.1  # what calls being served get before they are cut off
LISTED_MODELS = (
    "gpt-4o",
    "gpt-4o-mini",
    "text-embedding-3-small",
    "claude-sonnet-5",
)
LISTED_GEMINI_MODELS = ("gemini-2.5-flash", "gemini-embedding-001")


def create_app(config: SimulatorConfig | None = None) -> web.Application:
    """The simulated provider as an aiohttp application.

    Run it with `handler_cancellation=True`, or hang-ups go unseen; `serve` does."""
    simulator = Simulator(config or SimulatorConfig())
    app = web.Application(client_max_size=BODY_LIMIT_BYTES)
    openai = SimulatedOpenAI()
    control = _Control(simulator)
    app.add_routes(
        [
            web.post("/v1/chat/completions", Endpoint(simulator, openai, read_chat).__call__),
            web.post("/v1/embeddings", Endpoint(simulator, openai, read_embeddings).__call__),
            web.post("/v1/messages", Endpoint(simulator, SimulatedAnthropic(), read_message).__call__),
            web.post("/v1beta/models/{model:[^/:]+}:{verb}", partial(_call_gemini, simulator)),
            web.get("/v1/models", _list_models),
            web.get("/v1beta/models", _list_gemini_models),
            web.get("/stats", control.show_stats),
            web.delete("/stats", control.reset_stats),
            web.get("/config", control.show_config),
            web.patch("/config", control.change_config),
            web.route("*", "/{path:.*}", _unknown_path),
        ]
    )
    return app


@asynccontextmanager
async def serve(
    config: SimulatorConfig | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve until the block ends; gives the base URL, with the port chosen where `port` is 0.

    Leaving the block takes less than a second: calls still open are cut off."""
    runner = web.AppRunner(
        create_app(config),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=STOP_TIMEOUT_S,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        bound_host, bound_port = runner.addresses[0][:2]
        yield str(httpx.URL(scheme="http", host=bound_host, port=bound_port))
    finally:
        await runner.cleanup()


class _Control:
    """`/stats` and `/config`."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def show_stats(self, request: web.Request) -> web.Response:
        """All counts; `?ids=0` leaves out the maps by request id, which may be large."""
        with_ids = request.query.get("ids", "1") != "0"
        return _json(self._simulator.stats.snapshot(with_ids=with_ids))

    async def reset_stats(self, request: web.Request) -> web.Response:
        self._simulator.stats.reset()
        return web.Response(status=204)

    async def show_config(self, request: web.Request) -> web.Response:
        return _json(self._simulator.config.model_dump())

    async def change_config(self, request: web.Request) -> web.Response:
        """The new configuration, or 400 with one sentence and nothing changed."""
        settings = parse_object(await request.read())
        try:
            if settings is None:
                raise InvalidConfig("The body must be a JSON object of settings.")
            changed = self._simulator.config.changed(settings)
        except InvalidConfig as invalid:
            return _json({"error": {"message": str(invalid)}}, status=400)
        self._simulator.configure(changed, reseed="seed" in settings)
        return await self.show_config(request)


def _json(value: object, status: int = 200) -> web.Response:
    return json_response(status, to_json(value), {})


def _refuse(refused: Refused) -> web.Response:
    return json_response(refused.status, to_json(refused.body), refused.headers)


async def _list_models(request: web.Request) -> web.Response:
    try:
        SimulatedOpenAI().authenticate(request.headers)
    except Refused as refused:
        return _refuse(refused)
    models = [
        {"id": name, "object": "model", "created": 1_715_367_049, "owned_by": "simulator"}
        for name in LISTED_MODELS
    ]
    return _json({"object": "list", "data": models})


async def _list_gemini_models(request: web.Request) -> web.Response:
    try:
        SimulatedGemini().authenticate(request.headers)
    except Refused as refused:
        return _refuse(refused)
    return _json({"models": [{"name": f"models/{name}"} for name in LISTED_GEMINI_MODELS]})


async def _call_gemini(simulator: Simulator, request: web.Request) -> web.StreamResponse:
    """The model and what to do with it are in the path, not in the body."""
    model, verb = request.match_info["model"], request.match_info["verb"]
    read: ReadCall
    if verb == "generateContent":
        read = partial(read_content, model=model, stream=False)
    elif verb == "streamGenerateContent" and request.query.get("alt") == "sse":
        read = partial(read_content, model=model, stream=True)
    elif verb == "batchEmbedContents":
        read = partial(read_batch, model=model)
    else:
        return await _unknown_path(request)
    return await Endpoint(simulator, SimulatedGemini(), read)(request)


async def _unknown_path(request: web.Request) -> web.Response:
    message = f"Invalid URL ({request.method} {request.path})"
    return _refuse(error(404, message))
