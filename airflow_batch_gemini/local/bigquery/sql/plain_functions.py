"""Functions on numbers and arrays, and the conditional ones."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import (
    BOOL,
    FLOAT64,
    INT64,
    NULL,
    NUMERIC,
    STRING,
    Field,
    array,
    quoted,
    struct,
    struct_field_names,
)
from airflow_batch_gemini.local.bigquery.errors import invalid_query

from .calls import Call, Signature, function, signatures
from .casts import coerce, numeric_result, supertype
from .expressions import handles, translate
from .operators import compare, divide
from .scope import Context, Expr, Scope


def _float(name: str, sql: str, arguments: int = 1) -> None:
    signatures(name, [Signature((FLOAT64,) * arguments, sql, FLOAT64)])


_float("SQRT", "bq_sqrt({0})")
_float("EXP", "bq_finite(exp({0}), 'EXP')")
_float("LN", "bq_ln({0})")
_float("LOG10", "CASE WHEN {0} <= 0 THEN bq_ln({0}) ELSE log10({0}) END")
_float("POW", "bq_finite(pow({0}, {1}), 'POW')", 2)
_float("POWER", "bq_finite(pow({0}, {1}), 'POW')", 2)
_float("RAND", "random()", 0)
signatures("LOG", [
    Signature((FLOAT64,), "bq_ln({0})", FLOAT64),
    Signature((FLOAT64, FLOAT64), "(bq_ln({0}) / bq_ln({1}))", FLOAT64),
])  # fmt: skip
signatures("IS_NAN", [Signature((FLOAT64,), "isnan({0})", BOOL)])
signatures("IS_INF", [Signature((FLOAT64,), "isinf({0})", BOOL)])
signatures(
    "DIV", [Signature((INT64, INT64), "bq_div({0}, {1})", INT64, "CASE WHEN {1} <> 0 THEN {0} // {1} END")]
)
signatures(
    "MOD", [Signature((INT64, INT64), "bq_mod({0}, {1})", INT64, "CASE WHEN {1} <> 0 THEN {0} % {1} END")]
)
for _name in ("CEIL", "CEILING", "FLOOR", "TRUNC", "ROUND"):
    _native = {"CEIL": "ceil", "CEILING": "ceil", "FLOOR": "floor", "TRUNC": "trunc", "ROUND": "round"}[_name]
    signatures(_name, [
        Signature((FLOAT64,), f"{_native}({{0}})", FLOAT64),
        Signature((NUMERIC,), f"CAST({_native}({{0}}) AS DECIMAL(38,9))", NUMERIC),
        *([Signature((FLOAT64, INT64), "round({0}, CAST({1} AS INTEGER))", FLOAT64)] if _name == "ROUND" else []),
    ])  # fmt: skip
for _name, _native in (("ABS", "abs({0})"), ("SIGN", "sign({0})")):
    signatures(_name, [Signature((t,), f"CAST({_native} AS {d})", t) for t, d in
                       ((INT64, "BIGINT"), (FLOAT64, "DOUBLE"), (NUMERIC, "DECIMAL(38,9)"))])  # fmt: skip


@function("SAFE_DIVIDE", "IEEE_DIVIDE")
def _divide(call: Call) -> Expr:
    call.count(2)
    return divide(
        call.arg(0), call.arg(1), "bq_safe_divide" if call.name == "SAFE_DIVIDE" else "bq_ieee_divide"
    )


@function("SAFE_ADD", "SAFE_SUBTRACT", "SAFE_MULTIPLY")
def _safe_arithmetic(call: Call) -> Expr:
    call.count(2)
    left, right = call.args()
    result = numeric_result(left, right)
    if result is None:
        raise call.no_signature([left, right])
    sign = {"SAFE_ADD": "+", "SAFE_SUBTRACT": "-", "SAFE_MULTIPLY": "*"}[call.name]
    sql = f"({coerce(left, result).sql} {sign} {coerce(right, result).sql})"
    return Expr(f"TRY(CAST({sql} AS DECIMAL(38,9)))" if result == NUMERIC else f"TRY({sql})", result)


@function("SAFE_NEGATE")
def _safe_negate(call: Call) -> Expr:
    call.count(1)
    value = call.arg(0)
    if value.type.kind not in {"INT64", "FLOAT64", "NUMERIC", "NULL"}:
        raise call.no_signature([value])
    return Expr(f"TRY(-{value.sql})", value.type)


@function("GREATEST", "LEAST")
def _extreme(call: Call) -> Expr:
    args = call.args()
    common = supertype(args, f"function {call.name}")
    texts = [coerce(arg, common).sql for arg in args]
    known = " AND ".join(f"{sql} IS NOT NULL" for sql in texts)
    return Expr(f"CASE WHEN {known} THEN {call.name.lower()}({', '.join(texts)}) END", common)


@function("COALESCE", "IFNULL")
def _coalesce(call: Call) -> Expr:
    if call.name == "IFNULL":
        call.count(2)
    args = call.args()
    if not args:
        raise call.no_signature(args)
    common = supertype(args, f"function {call.name}")
    return Expr(f"coalesce({', '.join(coerce(arg, common).sql for arg in args)})", common)


@function("NULLIF")
def _nullif(call: Call) -> Expr:
    call.count(2)
    value, other = call.args()
    common = supertype([value, other], "function NULLIF")
    value, other = coerce(value, common), coerce(other, common)
    equal = compare("=", value, other) if NULL not in (value.type, other.type) else Expr("NULL", BOOL)
    return Expr(f"CASE WHEN {equal.sql} THEN NULL ELSE {value.sql} END", common)


@handles(exp.Tuple)
def _tuple(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    """(1, 'a') is a STRUCT whose fields have no names."""
    values = [replace(translate(part, scope, context), name=None) for part in node.expressions]
    return _packed([Field("", value.type) for value in values], values)


@function("STRUCT")
def _struct(call: Call) -> Expr:
    fields, values = [], []
    for node in call.arguments:
        named = isinstance(node, exp.Alias)
        value = translate(node.this if named else node, call.scope, call.context)
        fields.append(Field(node.alias if named else value.name or "", value.type))
        values.append(value)
    if not values:
        raise invalid_query("A STRUCT needs a field")
    return _packed(fields, values)


def _packed(fields: list[Field], values: list[Expr]) -> Expr:
    type_ = struct(fields)
    parts = (f"{quoted(n)} := {v.sql}" for n, v in zip(struct_field_names(type_), values, strict=True))
    constant = all(value.constant for value in values)
    return Expr(f"struct_pack({', '.join(parts)})", type_, constant=constant)


def _an_array(call: Call, index: int) -> Expr:
    value = call.arg(index)
    if value.type.kind != "ARRAY":
        raise call.no_signature([value])
    return value


@function("ARRAY_LENGTH")
def _array_length(call: Call) -> Expr:
    call.count(1)
    return Expr(f"CAST(len({_an_array(call, 0).sql}) AS BIGINT)", INT64)


@function("ARRAY_REVERSE")
def _array_reverse(call: Call) -> Expr:
    call.count(1)
    value = _an_array(call, 0)
    return Expr(f"list_reverse({value.sql})", value.type)


@function("ARRAY_FIRST", "ARRAY_LAST")
def _array_end(call: Call) -> Expr:
    call.count(1)
    value = _an_array(call, 0)
    place = "0" if call.name == "ARRAY_FIRST" else f"len({value.sql}) - 1"
    macro = "bq_offset_or_null" if call.safe else "bq_offset"
    return Expr(f"{macro}({value.sql}, {place})", value.type.item)


@function("ARRAY_CONCAT")
def _array_concat(call: Call) -> Expr:
    values = [_an_array(call, index) for index in range(len(call.arguments))]
    common = supertype(values, "function ARRAY_CONCAT")
    return Expr("(" + " || ".join(coerce(value, common).sql for value in values) + ")", common)


@function("ARRAY_TO_STRING")
def _array_to_string(call: Call) -> Expr:
    call.count(2, 3)
    value = _an_array(call, 0)
    if value.type.item.kind not in {"STRING", "NULL"}:
        raise call.no_signature([value])
    sql = value.sql
    if len(call.arguments) == 3:
        sql = f"list_transform({sql}, lambda _s: coalesce(_s, {coerce(call.arg(2), STRING).sql}))"
    return Expr(f"bq_array_text({sql}, {coerce(call.arg(1), STRING).sql})", STRING)


@function("ARRAY_INCLUDES")
def _array_includes(call: Call) -> Expr:
    call.count(2)
    value = _an_array(call, 0)
    return Expr(f"list_contains({value.sql}, {coerce(call.arg(1), value.type.item).sql})", BOOL)


@function("GENERATE_ARRAY")
def _generate_array(call: Call) -> Expr:
    call.count(2, 3)
    args = [coerce(arg, INT64).sql for arg in call.args()]
    step = args[2] if len(args) == 3 else "CAST(1 AS BIGINT)"
    return Expr(f"bq_generate_array({args[0]}, {args[1]}, {step})", array(INT64))
