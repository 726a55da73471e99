"""Response schemas: read once, refused with the path that is wrong, kept ready for filling.

Takes Google's Schema (types in any case, ``nullable``, ``propertyOrdering``, counts as int64 strings) and the
JSON Schema keywords that ``responseJsonSchema`` may use. ``pattern`` is not obeyed: nobody can answer every
regular expression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

_TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
_UNSUPPORTED = (
    "allOf",
    "not",
    "if",
    "patternProperties",
    "multipleOf",
    "prefixItems",
    "contains",
    "dependentSchemas",
)
MAX_SCHEMA_DEPTH = 60


class SchemaError(ValueError):
    """A response schema that is not one, or that no answer can fit."""


@dataclass(slots=True)
class Node:
    """One place in a schema. ``low``/``high`` bound a value, a length or a number of items."""

    kind: str
    nullable: bool = False
    choices: tuple[Any, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    format: str = ""
    hint: str = ""
    items: Node | None = None
    properties: dict[str, Node] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    options: tuple[Node, ...] = ()


def compile_schema(schema: Any) -> Node:
    """Return the schema ready for filling; the same schema is read only once.

    :raises SchemaError: naming the path and what is wrong there.
    """
    if not isinstance(schema, Mapping):
        raise SchemaError("a schema is an object")
    return _compile_text(orjson.dumps(schema))


@lru_cache(maxsize=512)
def _compile_text(text: bytes) -> Node:
    return _Compiler(orjson.loads(text)).node


class _Compiler:
    """Reads one schema; ``$ref`` makes two places share one node, so that a schema may contain itself."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._root = schema
        self._defs = {**_dict(schema, "defs"), **_dict(schema, "$defs"), **_dict(schema, "definitions")}
        self._known: dict[str, Node] = {}
        self.node = self._read(schema, "schema", "", 0)

    def _read(self, schema: Any, path: str, name: str, depth: int) -> Node:
        if not isinstance(schema, dict):
            raise SchemaError(f"{path}: a schema is an object, not {schema!r}")
        if depth > MAX_SCHEMA_DEPTH:
            raise SchemaError(f"{path}: nested deeper than {MAX_SCHEMA_DEPTH}")
        for word in _UNSUPPORTED:
            if word in schema:
                raise SchemaError(f"{path}.{word}: not supported")
        reference = schema.get("$ref") or schema.get("ref")
        if reference:
            return self._refer(str(reference), path, name, depth)
        node = Node(kind="")
        self._fill_node(node, schema, path, name, depth)
        return node

    def _refer(self, reference: str, path: str, name: str, depth: int) -> Node:
        if reference in self._known:
            return self._known[reference]
        target = self._root if reference == "#" else self._defs.get(reference.rpartition("/")[2])
        if not isinstance(target, dict):
            raise SchemaError(f"{path}: {reference} refers to nothing")
        node = self._known[reference] = Node(kind="")
        self._fill_node(node, target, path, name, depth + 1)
        return node

    def _fill_node(self, node: Node, schema: dict[str, Any], path: str, name: str, depth: int) -> None:
        node.hint = f"{name} {schema.get('description') or ''} {schema.get('title') or ''}".lower()
        node.format = str(schema.get("format") or "")
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            node.kind = "any"
            node.nullable = schema.get("nullable") is True
            node.options = tuple(
                self._read(item, f"{path}.anyOf[{n}]", name, depth + 1) for n, item in _list(options)
            )
            return
        node.kind, node.nullable = _type(schema, path)
        node.choices = _choices(schema, node.kind, path)
        node.low, node.high, node.open_low, node.open_high = _bounds(schema, node.kind, path)
        if node.kind == "array":
            items = schema.get("items")
            if items is None:
                raise SchemaError(f"{path}.items: missing field")
            node.items = self._read(items, f"{path}.items", name, depth + 1)
        if node.kind == "object":
            self._fill_object(node, schema, path, depth)

    def _fill_object(self, node: Node, schema: dict[str, Any], path: str, depth: int) -> None:
        properties = _dict(schema, "properties")
        ordering = schema.get("propertyOrdering") or []
        required = schema.get("required") or []
        for word, names in (("propertyOrdering", ordering), ("required", required)):
            for _, name in _list(names):
                if name not in properties:
                    raise SchemaError(f"{path}.{word}: property {name!r} is not defined")
        order = [*ordering, *(name for name in properties if name not in ordering)]
        node.properties = {
            name: self._read(properties[name], f"{path}.properties.{name}", name, depth + 1) for name in order
        }
        node.required = frozenset(required)
        if node.high < len(node.required):
            raise SchemaError(f"{path}.maxProperties: less than the required properties")
        more = schema.get("additionalProperties")
        if node.low > len(order) and more is False:
            raise SchemaError(f"{path}.minProperties: more than there are properties")
        node.items = (
            self._read(more, f"{path}.additionalProperties", "", depth + 1)
            if isinstance(more, dict)
            else None
        )


def _type(schema: dict[str, Any], path: str) -> tuple[str, bool]:
    nullable = schema.get("nullable") is True
    word = schema.get("type")
    if isinstance(word, list):
        words = [str(item).lower() for item in word]
        nullable = nullable or "null" in words
        rest = [item for item in words if item != "null"]
        word = rest[0] if rest else "null"
    if word is None or str(word).upper() == "TYPE_UNSPECIFIED":
        word = "object" if "properties" in schema else "array" if "items" in schema else "string"
        if "const" in schema:
            word = {bool: "boolean", int: "integer", float: "number"}.get(type(schema["const"]), "string")
    kind = str(word).lower()
    if kind not in _TYPES:
        raise SchemaError(f"{path}.type: Invalid value at 'type' (Type), {word!r}")
    return kind, nullable


def _choices(schema: dict[str, Any], kind: str, path: str) -> tuple[Any, ...]:
    if "const" in schema:
        return (schema["const"],)
    values = schema.get("enum")
    if values is None:
        return ()
    if not isinstance(values, list) or not values:
        raise SchemaError(f"{path}.enum: a list with at least one value is required")
    if kind == "string" and not all(
        isinstance(value, str) and value for value in values if value is not None
    ):
        raise SchemaError(f"{path}.enum: the values of a STRING are texts that are not empty")
    if kind in ("integer", "number"):
        try:
            return tuple(int(value) if kind == "integer" else float(value) for value in values)
        except (TypeError, ValueError):
            raise SchemaError(f"{path}.enum: {values!r} are not numbers") from None
    return tuple(values)


_BOUNDS = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
}


def _bounds(schema: dict[str, Any], kind: str, path: str) -> tuple[float, float, bool, bool]:
    low_word, high_word = _BOUNDS.get(kind, ("", ""))
    sizes = kind in ("string", "array", "object")
    low = _number(schema.get(low_word), 0 if sizes else -math.inf, f"{path}.{low_word}")
    high = _number(schema.get(high_word), math.inf, f"{path}.{high_word}")
    open_low = open_high = False
    if kind in ("integer", "number"):
        above = _number(schema.get("exclusiveMinimum"), -math.inf, f"{path}.exclusiveMinimum")
        below = _number(schema.get("exclusiveMaximum"), math.inf, f"{path}.exclusiveMaximum")
        open_low, open_high = above >= low and above > -math.inf, below <= high and below < math.inf
        low, high = max(low, above), min(high, below)
    if kind == "integer":
        low = low if math.isinf(low) else math.floor(low) + 1 if open_low else math.ceil(low)
        high = high if math.isinf(high) else math.ceil(high) - 1 if open_high else math.floor(high)
        open_low = open_high = False
    if low > high or (low == high and (open_low or open_high)) or (sizes and high < 0):
        raise SchemaError(f"{path}: no value fits between {low_word} and {high_word}")
    return low, high, open_low, open_high


def _number(value: Any, default: float, path: str) -> float:
    if value is None:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SchemaError(f"{path}: {value!r} is not a number") from None
    if math.isnan(number) or isinstance(value, bool):
        raise SchemaError(f"{path}: {value!r} is not a number")
    return number


def _dict(schema: dict[str, Any], word: str) -> dict[str, Any]:
    value = schema.get(word) or {}
    if not isinstance(value, dict):
        raise SchemaError(f"{word}: an object is required")
    return value


def _list(value: Any) -> list[tuple[int, Any]]:
    if not isinstance(value, list):
        raise SchemaError(f"a list is required, not {value!r}")
    return list(enumerate(value))
