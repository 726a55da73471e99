"""BigQuery's types, their words in a REST schema and in SQL, and the DuckDB type that holds each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as setting
from typing import cast

from .errors import invalid, unsupported

_DUCKDB: Mapping[str, str] = {
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "INT64": "BIGINT",
    "FLOAT64": "DOUBLE",
    "NUMERIC": "DECIMAL(38,9)",
    "BOOL": "BOOLEAN",
    "DATE": "DATE",
    "TIME": "TIME",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMP": "TIMESTAMPTZ",
    "JSON": "JSON",
    "INTERVAL": "INTERVAL",
    "NULL": "INTEGER",
}
_FROM_REST: Mapping[str, str] = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
    "DECIMAL": "NUMERIC",
}
_TO_REST: Mapping[str, str] = {
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
}
STORABLE = frozenset(_DUCKDB) - {"INTERVAL", "NULL"} | {"STRUCT", "ARRAY"}


@dataclass(frozen=True, slots=True)
class Type:
    """A GoogleSQL type; `NULL` is the type of a bare NULL, which fits anywhere."""

    kind: str
    element: Type | None = None
    fields: tuple[Field, ...] = ()

    def __str__(self) -> str:
        if self.kind == "ARRAY":
            return f"ARRAY<{self.element}>"
        if self.kind == "STRUCT":
            return "STRUCT<" + ", ".join(f"{f.name} {f.type}".strip() for f in self.fields) + ">"
        return "INT64" if self.kind == "NULL" else self.kind

    @property
    def item(self) -> Type:
        """The element type of an ARRAY."""
        if self.element is None:
            raise TypeError(f"{self} has no elements")
        return self.element


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a table or a field of a STRUCT."""

    name: str
    type: Type
    required: bool = False
    description: str | None = setting(default=None, compare=False)
    """Says nothing of the type: STRUCTs that differ in it alone are one type."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the other parts of the local cloud name it: type and mode in BigQuery's words."""

    name: str
    type: str
    mode: str = "NULLABLE"


STRING, BYTES, INT64, FLOAT64 = Type("STRING"), Type("BYTES"), Type("INT64"), Type("FLOAT64")
NUMERIC, BOOL, DATE, TIME = Type("NUMERIC"), Type("BOOL"), Type("DATE"), Type("TIME")
DATETIME, TIMESTAMP, JSON = Type("DATETIME"), Type("TIMESTAMP"), Type("JSON")
INTERVAL, NULL = Type("INTERVAL"), Type("NULL")


def array(element: Type) -> Type:
    """Make the type ARRAY<element>."""
    return Type("ARRAY", element=element)


def struct(fields: Sequence[Field]) -> Type:
    """Make a STRUCT type."""
    return Type("STRUCT", fields=tuple(fields))


def struct_field_names(type_: Type) -> list[str]:
    """Name the fields of a STRUCT as DuckDB holds them: an unnamed field gets BigQuery's output name."""
    return [field.name or f"_field_{i}" for i, field in enumerate(type_.fields, 1)]


def quoted(name: str) -> str:
    """Quote an identifier for DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string for DuckDB."""
    return "'" + text.replace("'", "''") + "'"


def duckdb_type(type_: Type) -> str:
    """Name the DuckDB type that holds a BigQuery type."""
    if type_.kind == "ARRAY":
        return duckdb_type(type_.item) + "[]"
    if type_.kind == "STRUCT":
        names = struct_field_names(type_)
        inner = ", ".join(
            f"{quoted(n)} {duckdb_type(f.type)}" for n, f in zip(names, type_.fields, strict=True)
        )
        return f"STRUCT({inner})"
    return _DUCKDB[type_.kind]


def field_from_rest(raw: Mapping[str, object]) -> Field:
    """Read one field of a REST schema; raises the error BigQuery gives for a bad one."""
    name = str(raw.get("name") or "")
    if not name:
        raise invalid("Invalid schema: a field has no name")
    kind = str(raw.get("type") or "").upper()
    kind = _FROM_REST.get(kind, kind)
    if kind not in STORABLE or kind == "ARRAY":
        raise unsupported(f"the type {kind or '(none)'} of field {name}")
    for limit in (
        "precision",
        "scale",
        "maxLength",
        "policyTags",
        "defaultValueExpression",
        "rangeElementType",
    ):
        if raw.get(limit) is not None:
            raise unsupported(f"{limit} of field {name}")
    nested = cast("Sequence[Mapping[str, object]]", raw.get("fields") or [])
    type_ = struct(fields_from_rest(nested)) if kind == "STRUCT" else Type(kind)
    if kind == "STRUCT" and not nested:
        raise invalid(f"Field {name} is type RECORD but has no schema")
    mode = str(raw.get("mode") or "NULLABLE").upper()
    if mode not in {"NULLABLE", "REQUIRED", "REPEATED"}:
        raise invalid(f"Invalid mode {mode} of field {name}")
    described = raw.get("description")
    return Field(
        name=name,
        type=array(type_) if mode == "REPEATED" else type_,
        required=mode == "REQUIRED",
        description=None if described is None else str(described),
    )


def fields_from_rest(raw: Sequence[Mapping[str, object]]) -> tuple[Field, ...]:
    """Read a REST schema; a name may occur once, whatever its case."""
    fields = tuple(field_from_rest(one) for one in raw)
    seen: set[str] = set()
    for field in fields:
        if field.name.lower() in seen:
            raise invalid(f"Duplicate field name: {field.name}")
        seen.add(field.name.lower())
    return fields


def field_to_rest(field: Field) -> dict[str, object]:
    """Render a field as the REST schema of a table holds it."""
    repeated = field.type.kind == "ARRAY"
    type_ = field.type.item if repeated else field.type
    raw: dict[str, object] = {
        "name": field.name,
        "type": _TO_REST.get(type_.kind, type_.kind),
        "mode": "REPEATED" if repeated else "REQUIRED" if field.required else "NULLABLE",
    }
    if type_.kind == "STRUCT":
        raw["fields"] = fields_to_rest(type_.fields)
    if field.description is not None:
        raw["description"] = field.description
    return raw


def fields_to_rest(fields: Sequence[Field]) -> list[dict[str, object]]:
    """Render a schema as the REST API shows it."""
    return [field_to_rest(field) for field in fields]


def columns_of(fields: Sequence[Field]) -> list[Column]:
    """Say a schema in the words that the other parts of the local cloud use."""
    result = []
    for field in fields:
        repeated = field.type.kind == "ARRAY"
        mode = "REPEATED" if repeated else "REQUIRED" if field.required else "NULLABLE"
        result.append(Column(field.name, str(field.type.item if repeated else field.type), mode))
    return result


def stored_type(type_: Type) -> Type:
    """Return the type a result column has in a table: a bare NULL is an INT64 there."""
    if type_.kind == "NULL":
        return INT64
    if type_.kind == "ARRAY":
        if type_.item.kind == "ARRAY":
            raise unsupported("arrays of arrays")
        return array(stored_type(type_.item))
    if type_.kind == "STRUCT":
        names = struct_field_names(type_)
        fields = zip(names, type_.fields, strict=True)
        return struct([replace(f, name=n, type=stored_type(f.type)) for n, f in fields])
    if type_.kind not in STORABLE:
        raise unsupported(f"a column of type {type_}")
    return type_
