"""A record → the item that is sent: its request, its custom_id and the hash of what is asked.

The hash covers everything that could change the answer, and nothing else: {"prompt": "a"} and the same
words as messages are one body; metadata is not part of it. A line without custom_id is named after its
content (metadata included, as it comes back with the answer), so names survive lines being moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from client.errors import InvalidRequest
from client.requests import check_writable, checked
from client.wire.extras import one_limit
from client.wire.nulls import present
from client.wire.schemas import MAX_PROMPT_BYTES, ChatRequest, EmbedRequest
from promptmill.dialects.openai.batch import from_batch, is_batch

from .formats import LineRecord, Reader, json_name
from .index import Index
from .options import Defaults, InputError

HASH_DIGITS = 32  # hex digits of a body's sha256
ID_DIGITS = 16  # hex digits that name a line without custom_id
MAX_ID_CHARACTERS = 512

_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
_quoted = json.encoder.encode_basestring  # as _canonical writes a text
_MARK = "\N{REPLACEMENT CHARACTER}prompt"  # stands in a frame where the prompt goes


class Item(NamedTuple):
    """One line to be asked."""

    line: int
    custom_id: str
    hash: str
    body: dict[str, Any]
    is_batch: bool
    size_bytes: int

    def request(self) -> ChatRequest | EmbedRequest:
        """What is enqueued, made anew: until then an item is small."""
        if "texts" in self.body:
            return checked(EmbedRequest, self.body)
        return checked(ChatRequest, self.body)


class Invalid(NamedTuple):
    """A line that cannot be sent, and why. `lines` are lost by it, those behind it that it took with it included."""

    line: int
    reason: str
    lines: int = 1


class BadRecord(ValueError):
    """Why a record is not a request: a sentence without its full stop."""


class ItemReader:
    """Every line of the input as an Item or an Invalid, the same ones on each pass.

    Raises InputError where the defaults themselves cannot be used.
    """

    def __init__(self, reader: Reader, defaults: Defaults, index: Index) -> None:
        self._reader = reader
        self._defaults = defaults
        self._index = index
        self._frame = self._plain_frame()

    def items(self) -> Iterator[Item | Invalid]:
        self._index.start_pass()
        for record in self._reader.records():
            try:
                yield self._item(record)
            except (BadRecord, InvalidRequest) as fault:
                yield Invalid(record.line, f"{str(fault).rstrip('.')}.", record.lines)

    def _item(self, record: LineRecord) -> Item:
        line, fields, fault, _ = record
        if fault is not None:
            raise BadRecord(fault)
        prompt = fields.get("prompt")
        if isinstance(prompt, str) and len(fields) == 1 + ("custom_id" in fields):
            return self._plain(line, prompt, _custom_id(fields))
        return self._full(line, present(fields))

    def _plain(self, line: int, prompt: str, custom_id: str | None) -> Item:
        """A line that is a prompt and no more: it is valid because the frame is. Saves three quarters."""
        body = {
            **self._frame.body,
            "messages": [*self._frame.before, {"role": "user", "content": _said(prompt)}],
        }
        canonical = f"{self._frame.head}{_quoted(prompt)}{self._frame.tail}".encode()
        return self._named(line, custom_id, body, canonical, is_batch=False)

    def _full(self, line: int, fields: dict[str, Any]) -> Item:
        custom_id = _custom_id(fields)
        batch = is_batch(fields)
        body = from_batch(fields) if batch else one_limit(fields)
        if "texts" in body:
            _default(body, "model", self._defaults.embed_model)
            checked(EmbedRequest, body)
        else:
            self._fill_chat(body)
            checked(ChatRequest, body)
        check_writable(body)
        asked = {name: value for name, value in body.items() if name != "metadata"}
        return self._named(line, custom_id, body, _canonical(asked).encode(), is_batch=batch)

    def _named(
        self, line: int, custom_id: str | None, body: dict[str, Any], canonical: bytes, *, is_batch: bool
    ) -> Item:
        if len(canonical) > MAX_PROMPT_BYTES:
            size_mb, most_mb = len(canonical) / 2**20, MAX_PROMPT_BYTES // 2**20
            raise BadRecord(f"it has {size_mb:.1f} MB, and at most {most_mb} MB can be sent")
        digest = sha256(canonical).hexdigest()
        name = self._claim(custom_id, canonical, digest, body.get("metadata"), line)
        return Item(line, name, digest[:HASH_DIGITS], body, is_batch, len(canonical))

    def _claim(self, custom_id: str | None, canonical: bytes, digest: str, metadata: Any, line: int) -> str:
        if custom_id is not None:
            earlier = self._index.claim(custom_id, line)
            if earlier is not None:
                raise BadRecord(f"its custom_id {custom_id[:80]!r} is that of line {earlier}")
            return custom_id
        if metadata:
            digest = sha256(canonical + _canonical(metadata).encode()).hexdigest()
        content_id = digest[:ID_DIGITS]
        count = self._index.count(content_id, line)
        return content_id if count == 1 else f"{content_id}-{count}"

    def _fill_chat(self, body: dict[str, Any]) -> None:
        if "messages" not in body:
            body["messages"] = [{"role": "user", "content": _prompt(body)}]
        elif "prompt" in body:
            raise BadRecord("it has both prompt and messages: one of them is enough")
        _default(body, "model", self._defaults.model)
        _default(body, "max_tokens", self._defaults.max_tokens)
        _default(body, "temperature", self._defaults.temperature)
        system = body.pop("system", None)
        _add_system(body, self._defaults.system if system is None else system)

    def _plain_frame(self) -> _Frame:
        body: dict[str, Any] = {"prompt": _MARK}
        self._fill_chat(body)
        try:
            checked(ChatRequest, body)
        except InvalidRequest as error:
            raise InputError(f"The options cannot be used: {error}") from None
        head, tail = _canonical(body).split(f'"{_MARK}"')
        *before, _ = body.pop("messages")
        return _Frame(body, before, head, tail)


class _Frame(NamedTuple):
    """A checked request around the place of its prompt, as data and as canonical JSON."""

    body: dict[str, Any]
    before: list[dict[str, Any]]
    head: str
    tail: str


def _default(body: dict[str, Any], name: str, value: Any) -> None:
    if body.get(name) is None:
        body.pop(name, None)
        if value is not None:
            body[name] = value


def _custom_id(fields: dict[str, Any]) -> str | None:
    custom_id = fields.pop("custom_id", None)
    if custom_id in (None, ""):
        return None
    if type(custom_id) in (int, float):  # as tables write a text of digits
        custom_id = _canonical(custom_id)
    if not isinstance(custom_id, str):
        raise BadRecord("its custom_id must be a text")
    if len(custom_id) > MAX_ID_CHARACTERS:
        raise BadRecord(f"its custom_id has more than {MAX_ID_CHARACTERS} characters")
    return custom_id


def _prompt(body: dict[str, Any]) -> str:
    if "prompt" not in body:
        raise BadRecord('it has none of "prompt", "messages", "texts" and "body"')
    prompt = body.pop("prompt")
    if not isinstance(prompt, str):
        raise BadRecord(f"its prompt must be a text, not {json_name(prompt)}")
    return _said(prompt)


def _said(prompt: str) -> str:
    if not prompt or prompt.isspace():
        raise BadRecord("its prompt is empty")
    return prompt


def _add_system(body: dict[str, Any], system: Any) -> None:
    messages = body["messages"]
    if system is None or not isinstance(messages, list):
        return
    if any(isinstance(each, dict) and each.get("role") in ("system", "developer") for each in messages):
        return
    body["messages"] = [{"role": "system", "content": system}, *messages]
