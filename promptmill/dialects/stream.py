"""A streamed answer, from the bytes of its response to the answer that the plain call would have given."""

from __future__ import annotations

import contextlib

from client.errors import MalformedResponse
from client.wire.schemas import Usage

from .answers import CallNumbers, ChatAnswer, Delta, Headers, ToolCallPart, join_calls
from .base import Route
from .sse import Event, EventParser, EventTooLarge


class ChatStream:
    """Reads one streamed response: `feed` it the body's chunks, relay the deltas, then ask for `answer`.

    Pure: whoever reads the connection calls it. Every error is one of ours, free of secrets.
    """

    def __init__(self, route: Route, headers: Headers) -> None:
        self._provider, self._model = route
        self._headers = headers
        self._parser = EventParser()
        self._numbers = CallNumbers()
        self._sum = Sum()

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow, so that the connection need not be read to its end."""
        return self._sum.is_over

    @property
    def is_whole(self) -> bool:
        """Whether the event that ends the answer has come; only usage may follow."""
        return self._sum.is_whole

    @property
    def usage(self) -> Usage:
        """The tokens told so far: what a stream that broke off is known to have cost."""
        return self._sum.usage

    def feed(self, chunk: bytes) -> list[Delta]:
        """What the chunk adds. Raises MalformedResponse for what cannot be read, and the typed error of an
        error that the provider put into the stream."""
        try:
            events = self._parser.feed(chunk)
        except EventTooLarge as error:
            raise self._provider.malformed(str(error), self._headers, self._model) from None
        return self._read(events)

    def answer(self) -> ChatAnswer:
        """The whole answer, once the body has ended. Raises MalformedResponse if it was cut off before the
        event that ends it, and ContentFiltered if a filter left nothing of it."""
        # half an event adds nothing, whatever is in it
        with contextlib.suppress(MalformedResponse, EventTooLarge):
            self._read(self._parser.close())
        if not self._sum.has_begun:
            raise self._provider.malformed("there is no event in it", self._headers, self._model)
        if not self._sum.is_whole:
            raise self._provider.cut_off("it has no end", self._headers, self._model)
        if self._sum.is_empty:
            raise self._provider.malformed("there is no answer in it", self._headers, self._model)
        return self._provider.finished(self._sum.answer(self._model), self._headers, self._model)

    def _read(self, events: list[Event]) -> list[Delta]:
        deltas = []
        for event in events:
            if self._sum.is_over:  # what follows is not ours to read
                break
            self._sum.has_begun = True
            delta = self._provider.parse_event(event, self._headers, self._model)
            if delta is None:
                continue
            if delta.tool_calls:
                delta = delta._replace(tool_calls=self._numbers.of(delta.tool_calls))
            self._sum.add(delta)
            deltas.append(delta)
        return deltas


class Sum:
    """Deltas added up."""

    def __init__(self) -> None:
        self.has_begun = self.is_over = False
        self.usage = Usage()
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCallPart] = []
        self._finish_reason: str | None = None
        self._model: str | None = None
        self._response_id: str | None = None
        self._is_refusal = self._is_told = False

    @property
    def is_whole(self) -> bool:
        """Whether the event that ends the answer has come; usage may follow."""
        return self.is_over or self._finish_reason is not None

    @property
    def is_empty(self) -> bool:
        """Whether no event said anything, not even why the answer ended."""
        return not (self._text or self._reasoning or self._calls or self._finish_reason)

    def add(self, delta: Delta) -> None:
        if delta.text:
            self._text.append(delta.text)
        if delta.reasoning:
            self._reasoning.append(delta.reasoning)
        if delta.tool_calls:
            self._calls += delta.tool_calls
        if delta.usage is not None:
            self.usage = newer(self.usage, delta.usage) if self._is_told else delta.usage
            self._is_told = True
        self._finish_reason = delta.finish_reason or self._finish_reason
        self._model = delta.model or self._model
        self._response_id = delta.response_id or self._response_id
        self._is_refusal |= delta.is_refusal
        self.is_over |= delta.is_last

    def answer(self, model: str) -> ChatAnswer:
        """`model` is the name it was asked by, where no event told another."""
        return ChatAnswer(
            text="".join(self._text),
            finish_reason="content_filter" if self._is_refusal else self._finish_reason,
            model=self._model or model,
            usage=self.usage,
            tool_calls=join_calls(self._calls),
            response_id=self._response_id,
            reasoning="".join(self._reasoning) or None,
        )


def newer(old: Usage, new: Usage) -> Usage:
    """What `new` does not tell is as it was. Gemini tells with every event, so it takes no detour by dumps."""
    told = vars(old) | {name: tokens for name, tokens in vars(new).items() if tokens is not None}
    return Usage(**told)
