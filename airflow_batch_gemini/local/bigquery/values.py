"""Values on their way out: DuckDB's rows as BigQuery's wire shows them, and as plain Python."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast

from .datatypes import Field, Type, literal, quoted, struct_field_names

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEMPLATES: Mapping[str, str] = {
    "JSON": "CAST({} AS VARCHAR)",
    "NUMERIC": "bq_numeric_text({})",
    "BYTES": "to_base64({})",
    "DATE": "CAST({} AS VARCHAR)",
    "TIME": "left(CAST({} AS VARCHAR), 8) || bq_micros_text(epoch_us({}))",
    "DATETIME": "strftime({}, '%Y-%m-%dT%H:%M:%S') || bq_micros_text(epoch_us({}))",
    "TIMESTAMP": "epoch_us({})",
}


def wire_sql(sql: str, type_: Type, *, depth: int = 0) -> str:
    """Turn a value into one that needs no DuckDB type to be understood; points in time become microseconds."""
    if type_.kind == "ARRAY":
        var = f"_a{depth}"
        inner = wire_sql(var, type_.item, depth=depth + 1)
        return sql if inner == var else f"list_transform({sql}, lambda {var}: {inner})"
    if type_.kind == "STRUCT":
        parts = []
        for index, (name, field) in enumerate(zip(struct_field_names(type_), type_.fields, strict=True)):
            part = wire_sql(f"struct_extract({sql}, {literal(name)})", field.type, depth=depth)
            parts.append(f"f{index} := {part}")
        return f"CASE WHEN {sql} IS NOT NULL THEN struct_pack({', '.join(parts)}) END"
    template = _TEMPLATES.get(type_.kind)
    return sql if template is None else template.replace("{}", sql)


def select_list(fields: Sequence[Field]) -> str:
    """Render the columns of a table for reading."""
    return ", ".join(wire_sql(quoted(field.name), field.type) for field in fields)


def encode(value: Any, type_: Type, *, int64_timestamps: bool) -> dict[str, Any]:
    """Write a value as the REST API does: everything is text, rows are {f: [{v: ...}]}."""
    if type_.kind == "ARRAY":
        return {"v": [encode(item, type_.item, int64_timestamps=int64_timestamps) for item in value or []]}
    if value is None:
        return {"v": None}
    if type_.kind == "STRUCT":
        pairs = zip(value.values(), type_.fields, strict=True)
        return {"v": {"f": [encode(part, f.type, int64_timestamps=int64_timestamps) for part, f in pairs]}}
    if type_.kind == "TIMESTAMP" and not int64_timestamps:
        return {"v": f"{value / 1e6:.6f}".rstrip("0").removesuffix(".") + ("" if value % 1_000_000 else ".0")}
    return {"v": _SCALARS[type_.kind](value) if type_.kind in _SCALARS else str(value)}


def _float(value: float) -> str:
    special = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
    return special.get(repr(value), repr(value))


_SCALARS: Mapping[str, Callable[[Any], str]] = {
    "BOOL": lambda value: "true" if value else "false",
    "FLOAT64": _float,
}


def encode_row(row: Sequence[Any], fields: Sequence[Field], *, int64_timestamps: bool) -> dict[str, Any]:
    """Write one row as the REST API does."""
    pairs = zip(row, fields, strict=True)
    return {"f": [encode(value, field.type, int64_timestamps=int64_timestamps) for value, field in pairs]}


def python_value(value: Any, type_: Type) -> object:
    """Give a value its natural Python type; JSON stays text."""
    kind = type_.kind
    if kind == "ARRAY":
        return [python_value(item, type_.item) for item in value or []]
    if value is None:
        return None
    if kind == "STRUCT":
        names, parts = struct_field_names(type_), cast("Mapping[str, Any]", value).values()
        return {n: python_value(p, f.type) for n, p, f in zip(names, parts, type_.fields, strict=True)}
    return _PYTHON[kind](value) if kind in _PYTHON else value


def moment(micros: int) -> datetime:
    """Turn microseconds since 1970 into a point in time."""
    return _EPOCH + timedelta(microseconds=micros)


_PYTHON: Mapping[str, Any] = {
    "NUMERIC": Decimal,
    "BYTES": base64.b64decode,
    "DATE": date.fromisoformat,
    "TIME": time.fromisoformat,
    "DATETIME": datetime.fromisoformat,
    "TIMESTAMP": moment,
}
