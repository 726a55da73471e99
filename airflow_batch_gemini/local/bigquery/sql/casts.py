"""How a value becomes one of another type: implicitly where GoogleSQL allows it, and by CAST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from airflow_batch_gemini.local.bigquery.datatypes import (
    BYTES,
    FLOAT64,
    INT64,
    NULL,
    NUMERIC,
    STRING,
    Type,
    duckdb_type,
    quoted,
    struct_field_names,
)
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from .scope import Expr

_WIDER: Mapping[str, frozenset[str]] = {
    "INT64": frozenset({"NUMERIC", "FLOAT64"}),
    "NUMERIC": frozenset({"FLOAT64"}),
    "DATE": frozenset({"DATETIME", "TIMESTAMP"}),
    "DATETIME": frozenset({"TIMESTAMP"}),
}
_FROM_TEXT = frozenset({"DATE", "DATETIME", "TIME", "TIMESTAMP"})
_TO_STRING: Mapping[str, str] = {
    "STRING": "{}",
    "INT64": "CAST({} AS VARCHAR)",
    "FLOAT64": "bq_float_text({})",
    "NUMERIC": "bq_numeric_text({})",
    "BOOL": "CAST({} AS VARCHAR)",
    "BYTES": "decode({})",
    "DATE": "CAST({} AS VARCHAR)",
    "TIME": "bq_time_text({})",
    "DATETIME": "bq_datetime_text({})",
    "TIMESTAMP": "bq_timestamp_text({})",
    "INTERVAL": "",
}
_FROM_STRING: Mapping[str, str] = {
    "INT64": "bq_int64({})",
    "FLOAT64": "bq_float64({})",
    "NUMERIC": "bq_numeric({})",
    "BOOL": "bq_bool({})",
    "BYTES": "encode({})",
    "DATE": "bq_date({})",
    "TIME": "bq_time({})",
    "DATETIME": "bq_datetime({})",
    "TIMESTAMP": "bq_timestamp({})",
}
_BETWEEN: Mapping[tuple[str, str], str] = {
    ("INT64", "FLOAT64"): "CAST({} AS DOUBLE)",
    ("INT64", "NUMERIC"): "CAST({} AS DECIMAL(38,9))",
    ("INT64", "BOOL"): "({} <> 0)",
    ("FLOAT64", "INT64"): "bq_float_to_int64({})",
    ("FLOAT64", "NUMERIC"): "CAST({} AS DECIMAL(38,9))",
    ("NUMERIC", "FLOAT64"): "CAST({} AS DOUBLE)",
    ("NUMERIC", "INT64"): "CAST(round({}, 0) AS BIGINT)",
    ("BOOL", "INT64"): "CAST({} AS BIGINT)",
    ("DATE", "DATETIME"): "CAST({} AS TIMESTAMP)",
    ("DATE", "TIMESTAMP"): "CAST(CAST({} AS TIMESTAMP) AS TIMESTAMPTZ)",
    ("DATETIME", "DATE"): "CAST({} AS DATE)",
    ("DATETIME", "TIME"): "CAST({} AS TIME)",
    ("DATETIME", "TIMESTAMP"): "CAST({} AS TIMESTAMPTZ)",
    ("TIMESTAMP", "DATE"): "CAST({} AS DATE)",
    ("TIMESTAMP", "DATETIME"): "CAST({} AS TIMESTAMP)",
    ("TIMESTAMP", "TIME"): "CAST(CAST({} AS TIMESTAMP) AS TIME)",
}


def coerces(expr: Expr, target: Type) -> bool:
    """Say whether GoogleSQL turns this expression into the target type without being asked."""
    source = expr.type
    if source == target or source.kind == "NULL" or target.kind in _WIDER.get(source.kind, ()):
        return True
    if expr.constant and source.kind == "STRING" and target.kind in _FROM_TEXT:
        return True
    if expr.constant and source.kind == "FLOAT64" and target.kind == "NUMERIC":
        return True
    if source.kind == target.kind == "ARRAY":
        return coerces(replace(expr, type=source.item), target.item)
    if source.kind == target.kind == "STRUCT" and len(source.fields) == len(target.fields):
        pairs = zip(source.fields, target.fields, strict=True)
        return all(coerces(replace(expr, type=a.type), b.type) for a, b in pairs)
    return False


def coerce(expr: Expr, target: Type) -> Expr:
    """Turn an expression into a type it coerces to."""
    if expr.type == target:
        return expr
    if not coerces(expr, target):
        raise invalid_query(f"Cannot coerce expression of type {expr.type} to type {target}")
    return cast(expr, target)


def supertype(exprs: Sequence[Expr], what: str) -> Type:
    """Return the one type that all the expressions coerce to."""
    distinct = list(dict.fromkeys(e.type for e in exprs if e.type != NULL))
    if not distinct:
        return NULL
    firm = [e.type for e in exprs if e.type != NULL and not e.constant]
    candidates = [*dict.fromkeys(firm), *distinct, NUMERIC, FLOAT64]
    for candidate in candidates:
        if all(coerces(e, candidate) for e in exprs):
            return candidate
    shown = ", ".join(str(e.type) for e in exprs)
    raise invalid_query(f"No matching signature for {what} for argument types: {shown}")


def cast(expr: Expr, target: Type, *, safe: bool = False) -> Expr:
    """Translate CAST, or SAFE_CAST, which gives NULL where CAST gives an error."""
    source = expr.type
    if source == target:
        return replace(expr, json=None)
    if source == NULL:
        return Expr(f"CAST({expr.sql} AS {duckdb_type(target)})", target, constant=expr.constant)
    if source.kind == "ARRAY" and target.kind == "ARRAY":
        element = cast(Expr("_e", source.item), target.item, safe=safe)
        return Expr(f"list_transform({expr.sql}, lambda _e: {element.sql})", target)
    if source.kind == "STRUCT" and target.kind == "STRUCT" and len(source.fields) == len(target.fields):
        return _cast_struct(expr, target, safe=safe)
    if target == STRING and _TO_STRING.get(source.kind):
        sql = _TO_STRING[source.kind].format(expr.sql)
    elif source == STRING and target.kind in _FROM_STRING:
        sql = _FROM_STRING[target.kind].format(expr.sql)
        if safe and target != BYTES:
            return Expr(sql.replace("(", "_or_null(", 1), target)
    elif (source.kind, target.kind) in _BETWEEN:
        sql = _BETWEEN[source.kind, target.kind].format(expr.sql)
    else:
        raise invalid_query(f"Invalid cast from {source} to {target}")
    return Expr(attempt(sql) if safe else sql, target, constant=expr.constant and source != STRING)


def attempt(sql: str) -> str:
    """Give NULL where the expression gives an error."""
    return f"TRY({sql})"


def _cast_struct(expr: Expr, target: Type, *, safe: bool) -> Expr:
    names = zip(struct_field_names(expr.type), struct_field_names(target), strict=True)
    parts = []
    for (old, new), before, after in zip(names, expr.type.fields, target.fields, strict=True):
        part = cast(Expr(f"struct_extract({expr.sql}, '{old}')", before.type), after.type, safe=safe)
        parts.append(f"{quoted(new)} := {part.sql}")
    packed = f"struct_pack({', '.join(parts)})"
    return Expr(f"CASE WHEN {expr.sql} IS NOT NULL THEN {packed} END", target)


def assign(expr: Expr, target: Type, *, column: str) -> Expr:
    """Turn a value into the type of the column it is written to, as INSERT, UPDATE and MERGE do."""
    if not coerces(expr, target):
        raise invalid_query(
            f"Value of type {expr.type} cannot be assigned to {column}, which has type {target}"
        )
    return coerce(expr, target)


def boolean(expr: Expr, what: str) -> Expr:
    """Require a condition."""
    if expr.type.kind not in {"BOOL", "NULL"}:
        raise invalid_query(f"{what} should return type BOOL, but returns {expr.type}")
    return expr


def comparable(type_: Type, what: str) -> None:
    """Refuse to compare, group or order by a type that GoogleSQL gives no order."""
    if type_.kind in {"JSON", "STRUCT", "ARRAY"}:
        if type_.kind == "STRUCT":
            raise unsupported(f"{what} of type {type_}")
        raise invalid_query(f"{what} is not defined for arguments of type {type_}")


def numeric_result(left: Expr, right: Expr) -> Type | None:
    """Return the type of arithmetic on two numbers, or None when they are not numbers."""
    kinds = {left.type.kind, right.type.kind} - {"NULL"}
    if not kinds <= {"INT64", "NUMERIC", "FLOAT64"}:
        return None
    if "NUMERIC" in kinds and all(e.constant for e in (left, right) if e.type == FLOAT64):
        return NUMERIC
    return FLOAT64 if "FLOAT64" in kinds else NUMERIC if "NUMERIC" in kinds else INT64
