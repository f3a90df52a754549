"""Null and absent are one thing wherever null has no meaning of its own: tables write every missing field as null."""

from __future__ import annotations

from typing import Any

# What is under these names is a model's or a schema's own data, in which null is a value.
_OWN_DATA = frozenset({"arguments", "args", "input", "input_schema", "parameters", "response", "schema"})
_MAX_LEVELS = 200  # what is nested more deeply is refused when it is written


def present(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that are not null; their own are left alone."""
    return {name: value for name, value in fields.items() if value is not None}


def without_nulls(value: Any, levels: int = _MAX_LEVELS) -> Any:
    """`value` without fields that are null, at any depth; what a model or a schema says stays as it is."""
    if isinstance(value, dict) and levels:
        return {
            name: field if name in _OWN_DATA else without_nulls(field, levels - 1)
            for name, field in value.items()
            if field is not None
        }
    if isinstance(value, list) and levels:
        return [without_nulls(item, levels - 1) for item in value]
    return value


def of_message(message: dict[str, Any]) -> dict[str, Any]:
    """The fields of a message without nulls; what a tool returned is an empty text where it is nothing."""
    fields: dict[str, Any] = without_nulls(message)
    if fields.get("content") in (None, []):
        fields["content"] = "" if fields.get("role") in ("tool", "function") else None
    return fields
