"""An answer from the bytes of its response, in whatever frames they come: what a stream adds up to is what the plain
call would have given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from client.errors import MalformedResponse, ProviderError
from client.wire.schemas import Usage

from .answers import CallNumbers, ChatAnswer, Delta, Headers, ToolCallPart, call_parts
from .base import Route
from .extra import Extra, add
from .reader import Frames, Halves, is_one_json, objects_of, read_loosely
from .refusals import error_in
from .sse import Event, EventTooLarge


def read_chat(route: Route, headers: Headers, body: bytes) -> ChatAnswer:
    """The answer in the whole body of a 2xx. Raises as `ChatStream.answer` does."""
    if is_one_json(body):
        return route.provider.parse_chat(body, headers, route.model)
    stream = ChatStream(route, headers)
    stream.feed(body)
    return stream.answer()


class ChatStream:
    """Reads one streamed response: `feed` it the body's chunks, relay the deltas, `check` it, `close` it, and ask for
    the `answer`.

    Pure: whoever reads the connection calls it. Every error is one of ours, free of secrets.
    """

    def __init__(self, route: Route, headers: Headers) -> None:
        self._provider, self._model = route
        self._headers = headers
        self._frames = Frames()
        self._halves: Halves | None = None  # once a text of the stream was not whole
        self._numbers = CallNumbers()
        self._sum = Sum()
        self._answer: ChatAnswer | None = None  # where the host sent it as one
        self._failure: ProviderError | None = None

    @property
    def has_spoken(self) -> bool:
        """Whether the answer has begun: thinking, and events without words, do not count."""
        return self._sum.has_spoken

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow, so that the connection need not be read to its end."""
        return self._sum.is_over

    @property
    def is_whole(self) -> bool:
        """Whether nothing but usage can follow, so that it does not matter how the connection ends. Many hosts give
        a reason to finish with every event, and not only with the last."""
        return self._sum.is_over or (self._sum.ends_in_reason and self._provider.reason_is_last)

    @property
    def usage(self) -> Usage:
        """The tokens told so far: what a stream that broke off is known to have cost."""
        return self._sum.usage

    def feed(self, chunk: bytes) -> list[Delta]:
        """What the chunk adds. Raises MalformedResponse for what cannot be read, and the typed error of an
        error that the provider put into the stream; where deltas came before it, `check` raises it."""
        try:
            events = self._frames.feed(chunk)
        except EventTooLarge as error:
            raise self._provider.malformed(str(error), self._headers, self._model, is_final=True) from None
        return self._read(events)

    def check(self) -> None:
        """Raises the error that came behind the last deltas, if there was one."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> list[Delta]:
        """What the end of the body adds: a JSON text, an event without its empty line, half a character. Idempotent;
        raises as `feed` does."""
        try:
            deltas = self._read(self._frames.close())
        except (MalformedResponse, EventTooLarge):
            if self._frames.are_json and not self._sum.has_begun:
                raise
            self._failure, deltas = None, []  # half an event adds nothing, whatever is in it
        text, reasoning = self._halves.rest() if self._halves else ("", "")
        if text or reasoning:
            deltas.append(Delta(text, reasoning))
            self._sum.add(deltas[-1])
            if self._answer is not None:
                self._answer = replace(self._answer, text=self._answer.text + text)
        return deltas

    def answer(self) -> ChatAnswer:
        """The whole answer, once the body has ended. Raises MalformedResponse if it was cut off before the
        event that ends it, and ContentFiltered if a filter left nothing of it."""
        self.close()
        self.check()
        if self._answer is not None:
            return replace(self._answer, usage=self._sum.usage)
        if not self._sum.has_begun:
            reason = "there is no event in it"
            raise self._provider.malformed(reason, self._headers, self._model, is_strange=True)
        if not self._sum.has_end:
            raise self._provider.cut_off("it has no end", self._headers, self._model)
        if self._sum.is_empty:
            raise self._provider.malformed("there is no answer in it", self._headers, self._model)
        return self._provider.finished(self._sum.answer(self._model), self._headers, self._model)

    def _read(self, events: list[Event]) -> list[Delta]:
        deltas: list[Delta] = []
        try:
            for event in events:
                for data in self._objects(event):
                    if (delta := self._delta(data)) is not None:
                        self._sum.add(delta)
                        deltas.append(delta)
        except ProviderError as error:
            self._failure = error
            if not deltas:
                raise
        return deltas

    def _objects(self, event: Event) -> Sequence[dict[str, Any]]:
        """The JSON object of an event. What carries none adds nothing: hosts keep connections alive with it."""
        if self._sum.is_over:  # what follows is not ours to read
            return ()
        name, text = event
        try:
            data = from_json(text, allow_inf_nan=False)
        except ValueError:
            data = self._read_oddity(text)
        if self._halves is not None:
            data = self._joined(data)
        found = (data,) if type(data) is dict else objects_of(data)
        if name == "error" and data and not any(map(error_in, found)):
            raise self._provider.told(data, self._headers, self._model)
        if found:
            self._sum.has_begun = True
        return found

    def _read_oddity(self, data: bytes) -> Any:
        text = data.strip()
        if text.upper() == b"[DONE]":  # OpenAI's, and that of gateways in front of any other
            self._sum.is_over = True
            return None
        try:
            found = read_loosely(text)
        except ValueError:
            if text.startswith(b"{"):
                raise self._unreadable() from None
            return text.decode(errors="replace")
        self._halves = self._halves or Halves()
        return found

    def _joined(self, data: Any) -> Any:
        assert self._halves is not None
        try:
            return self._halves.join(data)
        except ValueError:
            raise self._unreadable() from None

    def _unreadable(self) -> MalformedResponse:
        return self._provider.malformed("it is not a JSON object", self._headers, self._model)

    def _delta(self, data: dict[str, Any]) -> Delta | None:
        if error := error_in(data):
            raise self._provider.told(error, self._headers, self._model)
        found = self._provider.read_event(data, self._headers, self._model)
        if isinstance(found, ChatAnswer):
            found = self._delta_of(found)
        if found is not None and found.tool_calls:
            return found._replace(tool_calls=self._numbers.of(found.tool_calls))
        return found

    def _delta_of(self, answer: ChatAnswer) -> Delta:
        """A whole answer; behind an answer in pieces, it adds no more than how that ended."""
        ended = Delta(
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            model=answer.model,
            response_id=answer.response_id,
        )
        if not self._sum.is_empty:
            return ended
        self._answer = answer
        calls = tuple(call_parts(answer.tool_calls))
        return ended._replace(text=answer.text, reasoning=answer.reasoning or "", tool_calls=calls)


class Sum:
    """Deltas added up."""

    def __init__(self) -> None:
        self.has_begun = self.has_spoken = self.is_over = False
        self.ends_in_reason = False  # an event of its own said why it ended, and nothing was said since
        self.usage = Usage()
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCallPart] = []
        self._extra: Extra = {}
        self._finish_reason: str | None = None
        self._model: str | None = None
        self._response_id: str | None = None
        self._is_refusal = self._is_told = False
        self._is_doubtful = False  # something was said behind a reason to finish

    @property
    def has_end(self) -> bool:
        """Whether it was said that the answer has ended; of a body that is not cut off, that is enough."""
        return self.is_over or self._finish_reason is not None

    @property
    def is_empty(self) -> bool:
        """Whether no event said anything, not even why the answer ended."""
        return not (self._text or self._reasoning or self._calls or self._finish_reason)

    def add(self, delta: Delta) -> None:
        text, reasoning, calls, reason, usage, model, response_id, is_refusal, is_last, extra = delta
        if text:
            self._text.append(text)
            self.has_spoken = True
        if reasoning:
            self._reasoning.append(reasoning)
        if calls:
            self._calls += calls
            self.has_spoken = True
        if text or reasoning or calls:
            self._is_doubtful |= self._finish_reason is not None
            self.ends_in_reason = False
        elif reason or (self._finish_reason and usage is not None):
            self.ends_in_reason = not self._is_doubtful
        if extra:
            add(self._extra, extra)
        if usage is not None:
            self.usage = newer(self.usage, usage) if self._is_told else usage
            self._is_told = True
        self._finish_reason = reason or self._finish_reason
        self._model = model or self._model
        self._response_id = response_id or self._response_id
        self._is_refusal |= is_refusal
        self.is_over |= is_last

    def answer(self, model: str) -> ChatAnswer:
        """`model` is the name it was asked by, where no event told another."""
        return Delta(
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(self._calls),
            finish_reason=self._finish_reason,
            usage=self.usage,
            model=self._model,
            response_id=self._response_id,
            is_refusal=self._is_refusal,
            extra=self._extra,
        ).answer(model)


def newer(old: Usage, new: Usage) -> Usage:
    """What `new` does not tell is as it was. Gemini tells with every event, so it takes no detour by dumps."""
    told = vars(new)
    missing = {
        name: tokens for name, tokens in vars(old).items() if tokens is not None and told[name] is None
    }
    return Usage(**told | missing) if missing else new
