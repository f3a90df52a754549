"""OpenAI's forms, which are the neutral ones, read for the providers that have others. Raises CannotSay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from pydantic_core import from_json

from client.wire.schemas import Message, is_blank_part

from .base import CannotSay


class Image(NamedTuple):
    """An image in a message: base64 `data` with its media type, or a `url` to fetch it from."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class ToolChoice(NamedTuple):
    """What `tool_choice` asks for; `name` is of the function that is to be called."""

    mode: Literal["auto", "none", "required"]
    name: str | None = None


def of_today(messages: Iterable[Message]) -> Iterator[Message]:
    """The older `function_call`, and the role `function`, as a tool call and its result."""
    called = 0
    for message in messages:
        extra = message.model_extra or {}
        call = extra.get("function_call")
        if message.role == "function":
            yield message.model_copy(update={"role": "tool", "tool_call_id": f"function_call_{called}"})
        elif isinstance(call, dict) and not extra.get("tool_calls"):
            called += 1
            calls = [{"id": f"function_call_{called}", "type": "function", "function": call}]
            yield message.model_copy(update={"tool_calls": calls})
        else:
            yield message


def without_blanks(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts of a content without blank texts, which some providers refuse, where anything else is there."""
    return [part for part in parts if not is_blank_part(part)] or parts


def read_image(part: dict[str, Any]) -> Image:
    """The image of `{"type": "image_url", "image_url": {"url": …}}`."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str) or not url:
        raise CannotSay("takes an image as image_url with a url of https: or data:")
    scheme, _, rest = url.partition(":")
    if scheme.lower() != "data":
        return Image(url=url)
    head, comma, data = rest.partition(",")
    media_type, *parameters = head.split(";")
    if not comma or "base64" not in parameters or not media_type:
        raise CannotSay("takes an image in a data: URL of the form data:image/png;base64,…")
    return Image(media_type, data)


def function_of(tool: dict[str, Any]) -> dict[str, Any] | None:
    """The function that a tool describes; None for a tool in the provider's own form, sent as it is."""
    function = tool.get("function")
    return function if isinstance(function, dict) else None


def read_choice(choice: str | dict[str, Any]) -> ToolChoice | None:
    """None for a choice in the provider's own form, sent as it is."""
    if isinstance(choice, dict):
        function = choice.get("function")
        return ToolChoice("required", str(function.get("name"))) if isinstance(function, dict) else None
    for mode in ("auto", "none", "required"):
        if choice == mode:
            return ToolChoice(mode)
    raise CannotSay("takes a tool_choice of auto, none, required, or the function to call")


def joined(body: dict[str, Any], extra: dict[str, Any], name: str) -> dict[str, Any]:
    """The body with `extra`; the fields of the object called `name` join those that are there."""
    ours, theirs = body.get(name), extra.get(name)
    both = {name: {**ours, **theirs}} if isinstance(ours, dict) and isinstance(theirs, dict) else {}
    return {**body, **extra, **both}


def read_format(response_format: dict[str, Any]) -> tuple[bool, dict[str, Any] | None]:
    """Whether the answer is to be JSON, and of which schema."""
    kind, described = response_format.get("type"), response_format.get("json_schema")
    if kind == "text":
        return False, None
    if kind == "json_object":
        return True, None
    schema = described.get("schema") if isinstance(described, dict) else None
    if kind == "json_schema" and isinstance(schema, dict):
        return True, schema
    raise CannotSay("takes a response_format of type text, json_object, or json_schema with a schema")


def read_arguments(arguments: Any) -> Any:
    """A call's arguments as data: a model wrote them as JSON, or tried to."""
    if not isinstance(arguments, str):
        return arguments or {}
    try:
        return from_json(arguments or "{}")
    except ValueError:  # the provider only takes JSON
        return {"arguments": arguments}
