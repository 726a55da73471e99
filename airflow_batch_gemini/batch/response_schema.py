"""A response schema as Vertex AI knows it, from JSON Schema or a Pydantic v2 class.

Source: REST reference, ``Schema`` of ``google.cloud.aiplatform.v1``. What that message has no field for is refused with
its path: the service would refuse it too, once for every row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_origin

from airflow_batch_gemini.exceptions import TemplateError

_MAX_NODES, _MAX_DEPTH = 5_000, 200
_TYPES = {name: name.upper() for name in ("string", "number", "integer", "boolean", "array", "object")}
_DROPPED = frozenset({"$defs", "definitions", "$schema", "$id", "$comment", "title", "default"})
"""Said for people or for the schema itself. Vertex AI ignores ``default``, whose value may trap the importer."""
_KEPT = frozenset(
    {"description", "format", "pattern", "nullable", "minimum", "maximum", "minItems", "maxItems"}
    | {"minLength", "maxLength", "minProperties", "maxProperties", "example"}
)
_HANDLED = frozenset(
    {"type", "properties", "required", "propertyOrdering", "items", "enum", "const", "anyOf", "allOf"}
    | {"additionalProperties", "$ref"}
)
_CAMEL = {
    "property_ordering": "propertyOrdering",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "any_of": "anyOf",
    "additional_properties": "additionalProperties",
}
_INSTEAD = {
    "oneOf": "use anyOf",
    "exclusiveMinimum": "use minimum (ge= in Pydantic)",
    "exclusiveMaximum": "use maximum (le= in Pydantic)",
    "prefixItems": "use an object with named properties instead of a tuple",
    "uniqueItems": "use a list instead of a set",
    "patternProperties": "use additionalProperties, or an object with named properties",
    "examples": "say it in the description, or as example",
}


def vertex_schema(schema: Any, *, path: str = "response_schema") -> dict[str, Any]:
    """Return *schema* as the ``responseSchema`` that is sent.

    References are inlined, ``null`` alternatives become ``nullable``, properties keep their order by
    ``propertyOrdering``. Alternatives that a discriminator tells apart are those of ``anyOf``: each has its own word in
    that property, so no answer fits two.

    :param schema: JSON Schema or Vertex's own as a dict, a Pydantic v2 class, or another type that Pydantic can
        describe, like ``list[Label]`` or an enum.
    :param path: how the schema is called in messages.
    :raises TemplateError: for anything Vertex AI does not know, with its path.
    """
    if isinstance(schema, type) or get_origin(schema) is not None or hasattr(schema, "model_json_schema"):
        schema = _described(schema, path)
    if not isinstance(schema, Mapping):
        raise TemplateError(
            f"{path} is a {type(schema).__name__}: give a dict or a Pydantic class. Nothing was sent."
        )
    return _Converter(schema).convert(schema, path, ())


def _described(kind: Any, path: str) -> dict[str, Any]:
    """Return what Pydantic says of a class or another type."""
    from pydantic import TypeAdapter

    try:
        own = getattr(kind, "model_json_schema", None)
        return dict(own() if own else TypeAdapter(kind).json_schema())
    except (RuntimeError, TypeError, ValueError, NameError) as error:
        raise TemplateError(
            f"{path}: Pydantic cannot describe the class as JSON Schema ({type(error).__name__}). Nothing was sent."
        ) from None


class _Converter:
    """Walks one schema; *seen* are the references it is inside of."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._nodes = 0
        self._steps: dict[str, Callable[[Any, str, tuple[str, ...]], dict[str, Any]]] = {
            "enum": self._enum,
            "const": lambda value, path, seen: self._enum([value], path, seen),
            "type": self._type,
            "properties": self._properties,
            "items": lambda value, path, seen: {"items": self.convert(value, path, seen)},
            "anyOf": self._any_of,
            "additionalProperties": self._additional,
        }

    def convert(self, schema: Any, path: str, seen: tuple[str, ...]) -> dict[str, Any]:
        self._nodes += 1
        if self._nodes > _MAX_NODES or path.count(".") > _MAX_DEPTH:
            raise TemplateError("response_schema is too large with its references inlined. Nothing was sent.")
        if not isinstance(schema, Mapping):
            raise _refused(path, f"is a {type(schema).__name__} where a schema is wanted")
        schema = {_CAMEL.get(key, key): value for key, value in schema.items()}
        if "oneOf" in schema and "anyOf" not in schema and schema.pop("discriminator", None):
            schema["anyOf"] = schema.pop("oneOf")
        if (included := self._included(schema, path, seen)) is not None:
            return included
        result: dict[str, Any] = {}
        for key, step in self._steps.items():
            if key in schema:
                nullable = {"nullable": True} if "nullable" in result else {}
                result |= step(schema[key], f"{path}.{key}", seen) | nullable
        for key, value in schema.items():
            if key in _KEPT:
                # A list of numbers has this format and no other.
                result[key] = "enum" if key == "format" and result.get(key) == "enum" else value
            elif key not in _DROPPED and key not in _HANDLED:
                fix = _INSTEAD.get(key, "leave it out")
                raise _refused(f"{path}.{key}", f"is a keyword that Vertex AI's Schema does not have; {fix}")
        return _ordered(result, schema, path)

    def _included(self, schema: dict[str, Any], path: str, seen: tuple[str, ...]) -> dict[str, Any] | None:
        """Inline ``$ref`` or an ``allOf`` of one, together with what stands beside it."""
        if "$ref" in schema:
            reference = schema.pop("$ref")
            if reference in seen:
                raise _refused(f"{path}.$ref", "refers to itself; Vertex AI takes no recursive schema")
            inner, inside = self._resolve(reference, f"{path}.$ref"), (*seen, reference)
        elif "allOf" in schema:
            several = schema.pop("allOf")
            if not isinstance(several, list) or len(several) != 1:
                raise _refused(f"{path}.allOf", "has not exactly one member; write one schema instead")
            inner, inside = several[0], seen
        else:
            return None
        if not isinstance(inner, Mapping):
            raise _refused(path, f"is a {type(inner).__name__} where a schema is wanted")
        return self.convert(_together(inner, schema, path), path, inside)

    def _resolve(self, reference: Any, path: str) -> Any:
        node: Any = self._root
        parts = reference.split("/") if isinstance(reference, str) else []
        if not parts or parts[0] != "#":
            raise _refused(path, "is not a reference inside this schema (like '#/$defs/Name')")
        for part in parts[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, Mapping) or name not in node:
                raise _refused(path, "refers to nothing in this schema")
            node = node[name]
        return node

    def _type(self, value: Any, path: str, _seen: tuple[str, ...]) -> dict[str, Any]:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _refused(path, "is neither a type name nor a list of them")
        known = [name.lower() for name in names if name.lower() != "null"]
        if any(name not in _TYPES for name in known) or not known:
            raise _refused(path, f"is not one of {', '.join(_TYPES)}")
        nullable = {"nullable": True} if len(known) < len(names) else {}
        if len(known) == 1:
            return {"type": _TYPES[known[0]], **nullable}
        return {"anyOf": [{"type": _TYPES[name]} for name in known], **nullable}

    def _properties(self, value: Any, path: str, seen: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _refused(path, "is not an object")
        return {
            "properties": {name: self.convert(sub, f"{path}.{name}", seen) for name, sub in value.items()}
        }

    def _any_of(self, value: Any, path: str, seen: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, list) or not value:
            raise _refused(path, "is not a list of schemas")
        real = [(i, one) for i, one in enumerate(value) if one != {"type": "null"}]
        converted = [self.convert(one, f"{path}[{i}]", seen) for i, one in real]
        nullable = {"nullable": True} if len(real) < len(value) else {}
        if len(converted) == 1:
            return {**converted[0], **nullable}
        return {"anyOf": converted, **nullable}

    def _enum(self, value: Any, path: str, _seen: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, list):
            raise _refused(path, "is not a list of values")
        names = [one for one in value if one is not None]
        nullable = {"nullable": True} if len(names) < len(value) else {}
        if all(isinstance(one, str) for one in names):
            return {"type": "STRING", "enum": names, **nullable}
        if any(type(one) is not int for one in names):
            raise _refused(path, "has neither strings nor whole numbers only; Vertex AI takes no other lists")
        return {"type": "INTEGER", "format": "enum", "enum": list(map(str, names)), **nullable}

    def _additional(self, value: Any, path: str, seen: tuple[str, ...]) -> dict[str, Any]:
        if isinstance(value, bool) or value == {}:
            return {"additionalProperties": value is not False}
        return {"additionalProperties": self.convert(value, path, seen)}


def _together(inner: Mapping[str, Any], beside: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return *inner* with what stands beside the reference to it, which wins; both have their properties."""
    inner = {_CAMEL.get(key, key): value for key, value in inner.items()}
    result = {**inner, **beside}
    for key in ("items", "anyOf", "oneOf"):
        if key in inner and result[key] != inner[key]:
            raise _refused(
                f"{path}.{key}", "stands in a schema and beside the reference to it; write one schema"
            )
    known, more = inner.get("properties"), beside.get("properties")
    if isinstance(known, Mapping) and isinstance(more, Mapping):
        result["properties"] = {**known, **more}
    known, more = inner.get("required"), beside.get("required")
    if isinstance(known, list) and isinstance(more, list):
        result["required"] = [*known, *(name for name in more if name not in known)]
    return result


def _ordered(result: dict[str, Any], schema: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Keep ``required`` and ``propertyOrdering``, which must name properties that exist."""
    properties = list(result.get("properties", ()))
    lists = {"required": schema.get("required"), "propertyOrdering": schema.get("propertyOrdering")}
    for key, names in lists.items():
        if names is None:
            continue
        if not isinstance(names, list) or any(name not in properties for name in names):
            raise _refused(f"{path}.{key}", "names a property that the schema does not have")
        if names:
            result[key] = list(names)
    if len(properties) > 1:
        result.setdefault("propertyOrdering", properties)
    return result


def _refused(path: str, fact: str) -> TemplateError:
    return TemplateError(f"{path} {fact}. Nothing was sent; correct the schema.")
