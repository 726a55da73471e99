"""JSON functions: on JSON values by DuckDB's own functions, on JSON kept as STRING by exact Python."""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from airflow_batch_gemini.local.bigquery.datatypes import (
    BOOL,
    FLOAT64,
    INT64,
    JSON,
    NULL,
    STRING,
    Type,
    array,
    literal,
    struct_field_names,
)
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from . import jsonpath
from .calls import Call, Signature, function, signatures
from .casts import coerce
from .expressions import constant_text
from .scope import Expr

_READERS: Mapping[str, tuple[str, Type]] = {
    "INT64": ("int64", INT64),
    "FLOAT64": ("float64", FLOAT64),
    "DOUBLE": ("float64", FLOAT64),
    "BOOL": ("bool", BOOL),
}
for _name, (_macro, _type) in _READERS.items():
    signatures(
        _name,
        [Signature((JSON,), f"bq_{_macro}_of_json({{0}})", _type, f"bq_{_macro}_of_json_or_null({{0}})")],
    )
    signatures(f"LAX_{_name}", [Signature((JSON,), f"bq_lax_{_macro}({{0}})", _type)])
signatures("LAX_STRING", [Signature((JSON,), "bq_lax_string({0})", STRING)])


def _document(call: Call, *, legacy: bool) -> tuple[Expr, list[str | int]]:
    """Translate the first argument and read the path; steps already taken by field access are joined."""
    call.count(1, 2)
    document = call.arg(0)
    if document.type.kind not in {"JSON", "STRING", "NULL"}:
        raise call.no_signature([document])
    path = "$"
    if len(call.arguments) == 2:
        path = constant_text(call.arg(1), f"a path of {call.name}")
    return document, jsonpath.steps(path, legacy=legacy)


def _joined(document: Expr, steps: list[str | int]) -> str:
    return (document.json[1] if document.json else "$") + jsonpath.duckdb(steps)


def _place(document: Expr, steps: list[str | int]) -> tuple[str, str]:
    base = document.json[0] if document.json else document.sql
    return base, literal(_joined(document, steps))


_COLUMN = re.compile(r'[\w."]+')
_LARGE = 1 << 20


def _unless_large(document: Expr, steps: list[str | int], plain: str, macro: str) -> str:
    """Read a JSON value by the engine, a large one by Python.

    The engine sets aside memory for every call that looks into a value, several times its size, until the statement is
    done. A value of 50 MB, twenty calls, and the limit is reached.
    """
    base = document.json[0] if document.json else document.sql
    if _COLUMN.fullmatch(base) is None:
        return plain
    path = _steps_text(jsonpath.steps("$" + _joined(document, steps).removeprefix("$")))
    large = f"{macro}(CAST({base} AS VARCHAR), {path})"
    return f"(CASE WHEN strlen(CAST({base} AS VARCHAR)) > {_LARGE} THEN {large} ELSE {plain} END)"


@function("JSON_TYPE")
def _type_name(call: Call) -> Expr:
    call.count(1)
    document = call.arg(0)
    if document.type.kind not in {"JSON", "NULL"}:
        raise call.no_signature([document])
    base, path = _place(document, [])
    plain = f"bq_json_type(json_type(CAST({base} AS JSON), {path}))"
    return Expr(_unless_large(document, [], plain, "bq_large_json_type"), STRING)


def _steps_text(steps: list[str | int]) -> str:
    return literal(orjson.dumps(steps).decode())


@function("JSON_VALUE", "JSON_EXTRACT_SCALAR")
def _value(call: Call) -> Expr:
    document, steps = _document(call, legacy=call.name == "JSON_EXTRACT_SCALAR")
    if document.type == JSON:
        base, path = _place(document, steps)
        plain = f"(json_value({base}, {path}) ->> '$')"
        return Expr(_unless_large(document, steps, plain, "bq_large_json_value"), STRING)
    return Expr(f"bq_text_json_value(CAST({document.sql} AS VARCHAR), {_steps_text(steps)})", STRING)


@function("JSON_QUERY", "JSON_EXTRACT")
def _query(call: Call) -> Expr:
    document, steps = _document(call, legacy=call.name == "JSON_EXTRACT")
    if document.type == JSON:
        base, path = _place(document, steps)
        found = _unless_large(document, steps, f"json_extract({base}, {path})", "bq_large_json_query")
        return Expr(found, JSON, json=(base, _joined(document, steps)))
    return Expr(f"bq_text_json_query(CAST({document.sql} AS VARCHAR), {_steps_text(steps)})", STRING)


@function("JSON_QUERY_ARRAY", "JSON_EXTRACT_ARRAY")
def _query_array(call: Call) -> Expr:
    document, steps = _document(call, legacy=call.name == "JSON_EXTRACT_ARRAY")
    if document.type == JSON:
        base, path = _place(document, steps)
        found = _unless_large(document, steps, f"bq_json_array({base}, {path})", "bq_large_json_array")
        return Expr(found, array(JSON), json=(base, _joined(document, steps)))
    return Expr(f"bq_text_json_queries(CAST({document.sql} AS VARCHAR), {_steps_text(steps)})", array(STRING))


@function("JSON_VALUE_ARRAY", "JSON_EXTRACT_STRING_ARRAY")
def _value_array(call: Call) -> Expr:
    document, steps = _document(call, legacy=call.name == "JSON_EXTRACT_STRING_ARRAY")
    if document.type == JSON:
        base, path = _place(document, steps)
        return Expr(f"bq_json_strings(bq_json_array({base}, {path}))", array(STRING))
    return Expr(f"bq_text_json_values(CAST({document.sql} AS VARCHAR), {_steps_text(steps)})", array(STRING))


@function("JSON_SET", "JSON_ARRAY_APPEND")
def _change(call: Call) -> Expr:
    args = call.args()
    if len(args) < 3 or len(args) % 2 == 0 or args[0].type.kind not in {"JSON", "NULL"}:
        raise call.no_signature(args)
    call.named()
    changed = f"CAST({args[0].sql} AS VARCHAR)"
    for path, value in zip(args[1::2], args[2::2], strict=True):
        if call.name == "JSON_ARRAY_APPEND" and value.type.kind == "ARRAY":
            raise unsupported("JSON_ARRAY_APPEND of every element of an array")
        steps = _steps_text(jsonpath.steps(constant_text(path, f"a path of {call.name}")))
        new = f"coalesce({text(value.sql, value.type, wide=False)}, 'null')"
        changed = f"bq_{call.name.lower()}({changed}, {steps}, {new})"
    return Expr(f"CAST({changed} AS JSON)", JSON)


@function("PARSE_JSON")
def _parse(call: Call) -> Expr:
    call.count(1)
    mode = call.named("wide_number_mode").get("wide_number_mode")
    word = "exact" if mode is None else constant_text(mode, "wide_number_mode")
    if word not in {"exact", "round"}:
        raise invalid_query("Invalid wide_number_mode: it is 'exact' or 'round'")
    text = coerce(call.arg(0), STRING)
    macro = "bq_parse_json" + ("" if word == "exact" else "_rounded") + ("_or_null" if call.safe else "")
    return Expr(f"CAST({macro}({text.sql}) AS JSON)", JSON)


@function("TO_JSON_STRING")
def _to_json_string(call: Call) -> Expr:
    call.count(1, 2)
    if len(call.arguments) == 2 and call.arg(1).sql != "false":
        raise unsupported("pretty_print of TO_JSON_STRING")
    value = call.arg(0)
    return Expr(f"coalesce({text(value.sql, value.type, wide=True)}, 'null')", STRING)


@function("TO_JSON")
def _to_json(call: Call) -> Expr:
    call.count(1)
    wide = call.named("stringify_wide_numbers").get("stringify_wide_numbers")
    if wide is not None and wide.sql != "false":
        raise unsupported("stringify_wide_numbers")
    return to_json(call.arg(0))


def to_json(value: Expr) -> Expr:
    """Turn any value into JSON; a NULL becomes a JSON null, as in BigQuery."""
    return Expr(f"CAST(coalesce({text(value.sql, value.type, wide=False)}, 'null') AS JSON)", JSON)


@function("JSON_ARRAY")
def _json_array(call: Call) -> Expr:
    parts = [f"coalesce({text(arg.sql, arg.type, wide=False)}, 'null')" for arg in call.args()]
    return Expr(f"CAST('[' || {_commas(parts)} || ']' AS JSON)", JSON)


def _commas(parts: list[str]) -> str:
    return " || ',' || ".join(parts) if parts else "''"


@function("JSON_OBJECT")
def _json_object(call: Call) -> Expr:
    args = call.args()
    if len(args) == 2 and args[0].type.kind == "ARRAY":
        raise unsupported("JSON_OBJECT of two arrays")
    if len(args) % 2:
        raise invalid_query("JSON_OBJECT takes keys and values in pairs")
    pairs: dict[str, str] = {}
    for key, value in zip(args[::2], args[1::2], strict=True):
        name = constant_text(key, "a key of JSON_OBJECT")
        pairs.setdefault(name, f"coalesce({text(value.sql, value.type, wide=False)}, 'null')")
    return Expr(f"CAST({_object(sorted(pairs.items()))} AS JSON)", JSON)


def _object(pairs: list[tuple[str, str]]) -> str:
    parts = [literal(orjson.dumps(name).decode() + ":") + " || " + value for name, value in pairs]
    return "('{' || " + " || ',' || ".join(parts) + " || '}')" if parts else "'{}'"


_SCALARS: Mapping[str, str] = {
    "JSON": "CAST({} AS VARCHAR)",
    "BOOL": "CAST({} AS VARCHAR)",
    "DATE": "'\"' || CAST({} AS VARCHAR) || '\"'",
    "TIME": "'\"' || bq_time_text({}) || '\"'",
    "DATETIME": "'\"' || bq_datetime_iso({}) || '\"'",
    "TIMESTAMP": "'\"' || bq_timestamp_iso({}) || '\"'",
    "BYTES": "'\"' || to_base64({}) || '\"'",
}
_WIDE: Mapping[str, str] = {
    "STRING": "bq_string_json({})",
    "INT64": "CASE WHEN abs({0}) > 9007199254740992 THEN '\"' || CAST({0} AS VARCHAR) || '\"' "
    "ELSE CAST({0} AS VARCHAR) END",
    "FLOAT64": "CASE WHEN isfinite({0}) THEN bq_float_text({0}) ELSE bq_float_quoted({0}) END",
    "NUMERIC": "CASE WHEN {0} = trunc({0}) AND abs({0}) <= 9007199254740992 THEN bq_numeric_text({0}) "
    "ELSE '\"' || bq_numeric_text({0}) || '\"' END",
}
_NARROW: Mapping[str, str] = {
    "STRING": "CAST(to_json({}) AS VARCHAR)",
    "INT64": "CAST({} AS VARCHAR)",
    "FLOAT64": "bq_float_json({})",
    "NUMERIC": "bq_numeric_text({})",
}


def text(sql: str, type_: Type, *, wide: bool, depth: int = 0) -> str:
    """Write a value as JSON text; NULL stays NULL.

    `wide` is the way of TO_JSON_STRING: numbers that a double cannot hold are quoted, fields keep their order.
    Otherwise it is the way of TO_JSON: fields sorted, since the value becomes a JSON value.
    """
    if type_ == NULL:
        return "CAST(NULL AS VARCHAR)"
    if type_.kind == "ARRAY":
        var = f"_j{depth}"
        inner = f"coalesce({text(var, type_.item, wide=wide, depth=depth + 1)}, 'null')"
        return f"('[' || array_to_string(list_transform({sql}, lambda {var}: {inner}), ',') || ']')"
    if type_.kind == "STRUCT":
        pairs = []
        for name, field in zip(struct_field_names(type_), type_.fields, strict=True):
            part = text(f"struct_extract({sql}, {literal(name)})", field.type, wide=wide, depth=depth)
            pairs.append((field.name, f"coalesce({part}, 'null')"))
        written = _object(pairs if wide else sorted(pairs, key=lambda pair: pair[0]))
        return f"CASE WHEN {sql} IS NOT NULL THEN {written} END"
    template = _SCALARS.get(type_.kind) or (_WIDE if wide else _NARROW).get(type_.kind)
    if template is None:
        raise unsupported(f"JSON of a value of type {type_}")
    return f"({template.format(sql)})"
