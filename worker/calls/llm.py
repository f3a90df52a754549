"""One physical call to a provider: render, send, read. No retries, no Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from functools import cached_property, lru_cache, partial
from urllib.parse import quote

import httpx

from client.errors import BadRequest, MalformedResponse, ProviderError
from client.wire.schemas import ChatRequest, EmbedRequest
from promptmill.dialects import ChatAnswer, Delta, EmbedAnswer, HttpCall, Route
from promptmill.dialects.rates import SeenRates, rate_headers
from promptmill.dialects.stream import ChatStream, read_chat
from settings import Settings

from . import failures, inflate, stream_reader
from .price_file import OwnPrices
from .resolve import resolve
from .to_the_end import to_the_end
from .transport import exchange, open_http_client, read_refusal, send

MAX_CALL_ID_CHARS = 512  # OpenAI refuses a longer x-client-request-id
_ROUTES = 1_024  # model names remembered; callers choose them, so there must be an end


class LLM:
    """The providers of one process, over one HTTP client. Safe for any number of concurrent calls."""

    def __init__(
        self,
        settings: Settings,
        http: httpx.AsyncClient,
        *,
        observe: Callable[[Route, SeenRates], None] | None = None,
        own_prices: OwnPrices | None = None,
    ) -> None:
        self.settings = settings
        self.own_prices = own_prices or {}
        self._http = http
        self._observe = observe
        self._reading = asyncio.Lock()  # vectors that come together are read one after the other, by turns
        self._route: Callable[..., Route] = lru_cache(_ROUTES)(partial(resolve, settings))

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        observe: Callable[[Route, SeenRates], None] | None = None,
        own_prices: OwnPrices | None = None,
    ) -> LLM:
        """Connects to nothing yet. `close()` it in the event loop that made the calls.

        `observe` is told, at every answer, what its headers say of the provider's rates; it must be quick.
        """
        http = open_http_client(
            max_connections=settings.max_jobs,
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.request_timeout_s,
        )
        return cls(settings, http, observe=observe, own_prices=own_prices)

    @property
    def http(self) -> httpx.AsyncClient:
        """What carries its calls. Close the LLM, not this."""
        return self._http

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
        try:
            body, headers = await self._send(call, route, call_id, request.timeout_s)
        except BadRequest as refusal:
            call = _corrected(call, refusal, request, route)
            body, headers = await self._send(call, route, call_id, request.timeout_s)
        return read_chat(route, headers, body)

    async def chat_stream(
        self, request: ChatRequest, *, call_id: str, on_delta: Callable[[Delta], None]
    ) -> ChatAnswer:
        """As `chat`, with the answer's parts as they come: `on_delta` must be quick.

        An answer that has begun may be silent for STREAM_SILENCE_S, or for `request.timeout_s` where that is set;
        one that breaks off before the event that ends it raises as a failed call does.
        """
        route = self.chat_route(request.model)
        call = route.provider.render_chat(request, route.model, stream=True)
        try:
            return await self._stream(call, request, route, call_id, on_delta)
        except BadRequest as refusal:
            call = _corrected(call, refusal, request, route, stream=True)
        return await self._stream(call, request, route, call_id, on_delta)

    async def _stream(
        self,
        call: HttpCall,
        request: ChatRequest,
        route: Route,
        call_id: str,
        on_delta: Callable[[Delta], None],
    ) -> ChatAnswer:
        limit_s = request.timeout_s or self.settings.request_timeout_s
        silence_s = request.timeout_s or self.settings.stream_silence_s
        stream, patience = None, None
        try:
            async with (
                asyncio.timeout(limit_s) as limit,
                aclosing(await send(self._http, self._request(call, call_id))) as response,
            ):
                self._learn(route, response)
                if not response.is_success:
                    raise self._refused(route, response, await read_refusal(response))
                stream = ChatStream(route, response.headers)
                patience = stream_reader.Patience(limit, silence_s)
                await stream_reader.read(stream, response, on_delta, patience, self._max_bytes)
        except failures.FOREIGN as error:
            if stream is None or not stream.is_whole:
                silent = patience is not None and patience.is_over
                why = httpx.ReadTimeout(f"silent for {silence_s:g} s (STREAM_SILENCE_S)") if silent else error
                raise failures.translate(why, route, limit_s) from None
        assert stream is not None
        for delta in stream.close():
            on_delta(delta)
        return stream.answer()

    async def embed(self, request: EmbedRequest, *, call_id: str) -> EmbedAnswer:
        """As `chat`, for vectors: exactly one for each text."""
        route = self.embed_route(request.model)
        call = route.provider.render_embed(request, route.model)
        body, headers = await self._send(call, route, call_id, request.timeout_s)
        answer = await to_the_end(self._read_embed(route, body, headers))
        if len(answer.vectors) != len(request.texts):
            raise MalformedResponse(
                f"{route} answered {len(answer.vectors)} vectors for {len(request.texts)} texts.",
                provider=route.provider.name,
                model=route.model,
            )
        return answer

    async def _read_embed(self, route: Route, body: bytes, headers: httpx.Headers) -> EmbedAnswer:
        async with self._reading:
            await asyncio.sleep(0)
            return route.provider.parse_embed(body, headers, route.model)

    async def _send(
        self, call: HttpCall, route: Route, call_id: str, timeout_s: float | None
    ) -> tuple[bytes, httpx.Headers]:
        limit_s = timeout_s or self.settings.request_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                # a model that thinks for longer than the default is silent all the while
                request = self._request(call, call_id, limit_s)
                response, body = await exchange(self._http, request, self._max_bytes)
        except failures.FOREIGN as error:
            raise failures.translate(error, route, limit_s) from None
        self._learn(route, response)
        if response.is_success:
            return body, response.headers
        raise self._refused(route, response, body)

    @staticmethod
    def _refused(route: Route, response: httpx.Response, body: bytes) -> ProviderError:
        return route.provider.map_error(response.status_code, response.headers, body, route.model)

    @property
    def _max_bytes(self) -> int:
        return self.settings.max_answer_mb * 1_000_000

    @cached_property
    def _headers(self) -> dict[str, str]:
        """What every request has."""
        return {**self._http.headers, "accept-encoding": inflate.ACCEPTED}

    def _request(self, call: HttpCall, call_id: str, read_s: float | None = None) -> httpx.Request:
        sent_id = quote(call_id, safe=":/@+=, ")[-MAX_CALL_ID_CHARS:]  # the attempt's number is at the end
        headers = {**self._headers, **call.headers, "x-client-request-id": sent_id}
        timeout = {"connect": self.settings.connect_timeout_s, "read": read_s, "write": read_s, "pool": None}
        return httpx.Request(
            "POST", call.url, headers=headers, content=call.body, extensions={"timeout": timeout}
        )

    def _learn(self, route: Route, response: httpx.Response) -> None:
        if self._observe is not None:
            rates = route.provider.seen_rates(rate_headers(response.headers.raw))
            if response.is_success or any(rates):  # a model that does not exist is not worth remembering
                self._observe(route, rates)


def _corrected(
    call: HttpCall, refusal: BadRequest, request: ChatRequest, route: Route, *, stream: bool = False
) -> HttpCall:
    """The call once more, where its refusal has told another name for what is in it. Raises the refusal otherwise."""
    route.provider.learn(refusal, route.model)
    again = route.provider.render_chat(request, route.model, stream=stream)
    if again.body == call.body:
        raise refusal
    return again
