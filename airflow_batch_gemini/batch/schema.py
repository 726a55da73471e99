"""What a template's response schema promises about an answer."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Shape(StrEnum):
    """What JSON an answer must be; the values are GoogleSQL's words for ``JSON_TYPE``."""

    TEXT = "text"
    """No schema: any text will do."""
    ANY = "any"
    """A schema that says no type: any JSON value."""
    OBJECT = "object"
    ARRAY = "array"
    STRING = "string"
    """A bare word is as good as a JSON string: that is how Gemini answers an enum."""
    NUMBER = "number"
    BOOLEAN = "boolean"
    VECTOR = "vector"
    """An embedding model's: a list of numbers, and no text."""


_SHAPES = {
    "object": Shape.OBJECT,
    "array": Shape.ARRAY,
    "string": Shape.STRING,
    "number": Shape.NUMBER,
    "integer": Shape.NUMBER,
    "boolean": Shape.BOOLEAN,
}


def shape_of(schema: Mapping[str, Any] | None) -> Shape:
    """Return what an answer must be under *schema*, spelled as JSON Schema (``object``) or Gemini (``OBJECT``) do."""
    if not schema:
        return Shape.TEXT
    kind = schema.get("type")
    if isinstance(kind, str):
        return _SHAPES.get(kind.lower(), Shape.ANY)
    if "properties" in schema:
        return Shape.OBJECT
    return Shape.ARRAY if "items" in schema else Shape.ANY
