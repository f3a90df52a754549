"""One physical call to a provider: render, send, read. No retries, no Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache, partial
from urllib.parse import quote

import httpx

from client.errors import MalformedResponse
from client.schemas import ChatRequest, EmbedRequest
from settings import Settings

from . import failures
from .providers import ChatAnswer, EmbedAnswer, HttpCall, Route, resolve
from .transport import open_http_client

MAX_CALL_ID_CHARS = 512  # OpenAI refuses a longer x-client-request-id
_ROUTES = 1_024  # model names remembered; callers choose them, so there must be an end


class LLM:
    """The providers of one process, over one HTTP client. Safe for any number of concurrent calls."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient) -> None:
        self.settings = settings
        self._http = http
        self._route: Callable[..., Route] = lru_cache(_ROUTES)(partial(resolve, settings))

    @classmethod
    def open(cls, settings: Settings) -> LLM:
        """Connects to nothing yet. `close()` it in the event loop that made the calls."""
        http = open_http_client(
            max_connections=settings.max_jobs,
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.request_timeout_s,
        )
        return cls(settings, http)

    async def close(self) -> None:
        """Closes every connection. Idempotent."""
        await self._http.aclose()

    def chat_route(self, model: str | None) -> Route:
        """Where a chat goes; None is DEFAULT_MODEL. Raises ProviderNotConfigured."""
        return self._route(model or self.settings.default_model)

    def embed_route(self, model: str | None) -> Route:
        """Where an embedding goes; None is DEFAULT_EMBED_MODEL. Raises ProviderNotConfigured."""
        default = self.settings.default_embed_model
        return self._route(model or default, default_model=default)

    async def chat(self, request: ChatRequest, *, call_id: str) -> ChatAnswer:
        """Asks once, within `request.timeout_s` or else REQUEST_TIMEOUT_S seconds in all.

        `call_id` names this physical call in the provider's logs. Raises ProviderError or
        ProviderNotConfigured, nothing foreign. Cancelling it closes the connection.
        """
        route = self.chat_route(request.model)
        call = route.provider.render_chat(request, route.model)
        body, headers = await self._send(call, route, call_id, request.timeout_s)
        return route.provider.parse_chat(body, headers, route.model)

    async def embed(self, request: EmbedRequest, *, call_id: str) -> EmbedAnswer:
        """As `chat`, for vectors: exactly one for each text."""
        route = self.embed_route(request.model)
        call = route.provider.render_embed(request, route.model)
        body, headers = await self._send(call, route, call_id, request.timeout_s)
        answer = route.provider.parse_embed(body, headers, route.model)
        if len(answer.vectors) != len(request.texts):
            raise MalformedResponse(
                f"{route} answered {len(answer.vectors)} vectors for {len(request.texts)} texts.",
                provider=route.provider.name,
                model=route.model,
            )
        return answer

    async def _send(
        self, call: HttpCall, route: Route, call_id: str, timeout_s: float | None
    ) -> tuple[bytes, httpx.Headers]:
        limit_s = timeout_s or self.settings.request_timeout_s
        sent_id = quote(call_id, safe=":/@+=, ")[-MAX_CALL_ID_CHARS:]  # the attempt's number is at the end
        headers = {**call.headers, "x-client-request-id": sent_id}
        try:
            async with asyncio.timeout(limit_s):
                response = await self._http.post(
                    call.url,
                    content=call.body,
                    headers=headers,
                    # a model that thinks for longer than the default is silent all the while
                    timeout=httpx.Timeout(limit_s, connect=self.settings.connect_timeout_s, pool=None),
                )
        except failures.FOREIGN as error:
            raise failures.translate(error, route, limit_s) from None
        if response.is_success:
            return response.content, response.headers
        raise route.provider.map_error(response.status_code, response.headers, response.content, route.model)
