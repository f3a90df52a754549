"""The neutral request, its messages, tools and tool calls, in Gemini's form."""

from __future__ import annotations

import mimetypes
from typing import Any
from urllib.parse import quote

from client.wire.schemas import ChatRequest, EmbedRequest, Message, is_blank
from promptmill.dialects.base import CannotSay
from promptmill.dialects.neutral import (
    function_of,
    of_today,
    read_arguments,
    read_choice,
    read_format,
    read_image,
    without_blanks,
)

_Part = dict[str, Any]
_SYSTEM = ("system", "developer")
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def chat_body(request: ChatRequest) -> dict[str, Any]:
    """The body of generateContent, without `extra`. Raises CannotSay."""
    system, contents = _contents(request.messages)
    wanted = request.response_format
    is_json, schema = read_format(wanted) if wanted is not None else (False, None)
    config = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "maxOutputTokens": request.max_tokens,
        "stopSequences": [request.stop] if isinstance(request.stop, str) else request.stop,
        "seed": request.seed,
        "responseMimeType": "application/json" if is_json else None,
        # JSON schema as it is; `responseSchema` would refuse `additionalProperties`
        "responseJsonSchema": schema,
    }
    body = {
        "contents": contents,
        "systemInstruction": system,
        "tools": _tools(request.tools) or None,
        "toolConfig": _tool_config(request.tool_choice) if request.tool_choice is not None else None,
        "generationConfig": {name: value for name, value in config.items() if value is not None} or None,
    }
    return {name: value for name, value in body.items() if value is not None}


def embed_body(request: EmbedRequest, model: str, extra: dict[str, Any]) -> dict[str, Any]:
    """The body of batchEmbedContents: a request for each text."""
    options: dict[str, Any] = {"model": resource(model)}
    if request.dimensions is not None:
        options["outputDimensionality"] = request.dimensions
    options |= extra
    return {"requests": [{**options, "content": {"parts": [{"text": text}]}} for text in request.texts]}


def resource(model: str) -> str:
    """`models/…`, or the tuned model's own name; what a caller wrote stays one segment of the path."""
    kind, slash, name = model.partition("/")
    if not slash or kind not in ("models", "tunedModels"):
        kind, name = "models", model
    return f"{kind}/{quote(name, safe='')}"


def _contents(messages: list[Message]) -> tuple[_Part | None, list[dict[str, Any]]]:
    """The system (and developer) messages as `systemInstruction`, and the others as `contents`, without blank ones.

    The results of tools are one content, before whatever else was said meanwhile, because the API wants as many
    results in a turn as the turn before it had calls.
    """
    system = [part for m in messages if m.role in _SYSTEM for part in _parts(m.content)]
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}  # of the functions called, by the call's id: a result needs the name
    results: list[_Part] | None = None  # of the calls made last
    for message in of_today(messages):
        if message.role == "tool":
            if results is None:
                results = []
                contents.append({"role": "user", "parts": results})
            results.append(_result(message, names))
        elif message.role not in _SYSTEM and (parts := _said(message, names)):
            is_model = message.role == "assistant"
            results = None if is_model else results
            contents.append({"role": "model" if is_model else "user", "parts": parts})
    return ({"parts": system} if system else None), contents


def _said(message: Message, names: dict[str, str]) -> list[_Part]:
    parts = [*_parts(message.content), *_calls(message, names)]
    if not parts and message.role == "user":
        raise CannotSay("takes no empty message, and there is a user message of nothing but white space")
    return parts


def _tools(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Functions as one list of declarations; tools in Gemini's own form, as `{"googleSearch": {}}`, as they are.

    A function's parameters go out as `parametersJsonSchema`: `parameters` knows but a part of JSON schema.
    """
    declared, own = [], []
    for tool in tools:
        function = function_of(tool)
        if function is None:
            own.append(tool)
            continue
        fields = {
            "name": function.get("name"),
            "description": function.get("description"),
            "parametersJsonSchema": function.get("parameters"),
        }
        declared.append({name: value for name, value in fields.items() if value is not None})
    return [*([{"functionDeclarations": declared}] if declared else []), *own]


def _tool_config(choice: str | dict[str, Any]) -> dict[str, Any]:
    """`required` is Gemini's mode ANY; a function is the only one allowed in it."""
    read = read_choice(choice)
    if read is None:
        assert isinstance(choice, dict)  # a word is always read, or refused
        return choice
    allowed = {"allowedFunctionNames": [read.name]} if read.name else {}
    return {"functionCallingConfig": {"mode": _MODES[read.mode], **allowed}}


def _parts(content: str | list[dict[str, Any]] | None) -> list[_Part]:
    if content is None or is_blank(content):
        return []
    return [_part(p) for p in without_blanks(content)] if isinstance(content, list) else [{"text": content}]


def _part(part: dict[str, Any]) -> _Part:
    """A part without a `type` is in Gemini's own form and is sent as it is."""
    kind = part.get("type")
    if kind is None:
        return part
    if kind == "text":
        return {"text": part.get("text")}
    if kind != "image_url":
        raise CannotSay(f"has no part of type {kind!r}: give it in Gemini's own form, such as inlineData")
    image = read_image(part)
    if image.url is None:
        return {"inlineData": {"mimeType": image.media_type, "data": image.data}}
    media_type = mimetypes.guess_type(image.url.partition("?")[0])[0]
    return {"fileData": {"fileUri": image.url, **({"mimeType": media_type} if media_type else {})}}


def _calls(message: Message, names: dict[str, str]) -> list[_Part]:
    calls = (message.model_extra or {}).get("tool_calls")
    parts = []
    for call in calls if isinstance(calls, list) else ():
        function = function_of(call) if isinstance(call, dict) else None
        if function is None:
            raise CannotSay("takes tool_calls of the form {id, type: function, function: {name, arguments}}")
        name = str(function.get("name"))
        names[str(call.get("id"))] = name
        part: _Part = {"functionCall": {"name": name, "args": read_arguments(function.get("arguments"))}}
        signature = _signature(call)
        parts.append({**part, "thoughtSignature": signature} if signature else part)
    return parts


def _signature(call: dict[str, Any]) -> Any:
    kept = call.get("extra_content")
    google = kept.get("google") if isinstance(kept, dict) else None
    return google.get("thought_signature") if isinstance(google, dict) else None


def _result(message: Message, names: dict[str, str]) -> _Part:
    extra = message.model_extra or {}
    name = extra.get("name") or names.get(str(extra.get("tool_call_id")))
    if not name:
        raise CannotSay(
            "needs the call that a tool message answers: keep the assistant's tool_calls before it"
        )
    content = message.content
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content)
    found = read_arguments(content) if content and content.lstrip().startswith("{") else content
    response = found if isinstance(found, dict) and found != {"arguments": content} else {"result": content}
    return {"functionResponse": {"name": name, "response": response}}
