"""Answers that are not prose: a call of a tool, or JSON, where the caller asks for one."""

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from .text import CannedAnswer, answer_to, count_tokens

CALL = re.compile(r"\bcall ([\w-]+)", re.IGNORECASE)  # in the prompt: the tool that is to be called
MAX_DEPTH = 8  # of an example; a schema may refer to itself
_EXAMPLES: dict[str, Any] = {
    "string": "simulated",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for beside prose.

    tools      the parameters of each tool, by its name
    must_call  the tool that has to be called; empty: any
    is_json    the answer is to be JSON, of this `schema` where there is one
    """

    tools: dict[str, Any] = field(default_factory=dict)
    must_call: str | None = None
    is_json: bool = False
    schema: dict[str, Any] | None = None


PROSE = Asked()


def answer_asked(
    asked: Asked, prompt: str, *, is_users_turn: bool, fill_tokens: int, max_tokens: int | None
) -> CannedAnswer:
    """A call of the tool that must be called, or that the prompt names ("call weather") unless its result is
    there already; else JSON where it is wanted; else prose."""
    name = _tool_to_call(asked, prompt if is_users_turn else "")
    if name is not None:
        text = to_json(example(asked.tools[name])).decode()
        return CannedAnswer(text, count_tokens(len(text)), is_cut=False, call_name=name)
    if not asked.is_json:
        return answer_to(prompt, fill_tokens=fill_tokens, max_tokens=max_tokens)
    value = example(asked.schema) if asked.schema else {"answer": prompt[:200]}
    text = to_json(value).decode()
    is_cut = max_tokens is not None and count_tokens(len(text)) > max_tokens
    if is_cut and max_tokens is not None:
        text = text[: max_tokens * 4]
    return CannedAnswer(text, count_tokens(len(text)), is_cut)


def example(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A value that the JSON schema allows, for the commoner kinds of schema: all properties are there."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return {}
    root = root or schema
    if "$ref" in schema:
        return example(_referred(str(schema["$ref"]), root), root, depth + 1)
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if schema.get("enum"):
        return schema["enum"][0]
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return example(schema[name][0], root, depth + 1)
    kind = schema.get("type", "object")
    kind = str(kind[0] if isinstance(kind, list) else kind).lower()  # Google writes STRING
    if kind == "array":
        return [example(schema["items"], root, depth + 1)] if "items" in schema else []
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: example(each, root, depth + 1) for name, each in properties.items()}
    return _EXAMPLES.get(kind)


def _tool_to_call(asked: Asked, prompt: str) -> str | None:
    if not asked.tools:
        return None
    if asked.must_call is not None:
        return asked.must_call if asked.must_call in asked.tools else next(iter(asked.tools))
    return next((name for name in CALL.findall(prompt) if name in asked.tools), None)


def _referred(reference: str, root: Any) -> Any:
    found = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, dict) else None
    return found
