"""Translate operators: arithmetic, comparison, logic, sets, and strings joined by ||."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import (
    BOOL,
    DATE,
    FLOAT64,
    INT64,
    INTERVAL,
    NULL,
    NUMERIC,
    Type,
)
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from .casts import boolean, coerce, coerces, comparable, numeric_result, supertype
from .dialect import only
from .expressions import handles, translate, translate_all
from .scope import Context, Expr, Scope

_ARITHMETIC: Mapping[type[exp.Expr], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*"}
_COMPARISON: Mapping[type[exp.Expr], str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<=",
}  # fmt: skip
_BITS: Mapping[type[exp.Expr], str] = {
    exp.BitwiseAnd: "&", exp.BitwiseOr: "|", exp.BitwiseLeftShift: "<<", exp.BitwiseRightShift: ">>",
}  # fmt: skip


def _no_signature(sign: str, *operands: Expr) -> Exception:
    shown = ", ".join(str(operand.type) for operand in operands)
    return invalid_query(f"No matching signature for operator {sign} for argument types: {shown}")


def _both(node: exp.Expr, scope: Scope, context: Context) -> tuple[Expr, Expr]:
    only(node, "this", "expression", "typed", "safe", "null_safe")
    return translate(node.this, scope, context), translate(node.expression, scope, context)


@handles(*_ARITHMETIC)
def _arithmetic(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    left, right = _both(node, scope, context)
    sign = _ARITHMETIC[type(node)]
    result = numeric_result(left, right)
    if result is None:
        return _moment(sign, left, right)
    first, second = coerce(left, result).sql, coerce(right, result).sql
    sql = f"({first} {sign} {second})"
    return Expr(f"CAST({sql} AS DECIMAL(38,9))" if result == NUMERIC and sign == "*" else sql, result)


def _moment(sign: str, left: Expr, right: Expr) -> Expr:
    """Dates plus days, and points in time plus intervals."""
    if sign == "+" and left.type.kind in {"INT64", "INTERVAL"}:
        left, right = right, left
    if left.type == DATE and right.type == INT64 and sign != "*":
        return Expr(f"({left.sql} {sign} CAST({right.sql} AS INTEGER))", DATE)
    if right.type == INTERVAL and left.type.kind in {"DATETIME", "TIMESTAMP"} and sign != "*":
        return Expr(f"({left.sql} {sign} {right.sql})", left.type)
    if right.type == INTERVAL and left.type == DATE and sign != "*":
        return Expr(f"(CAST({left.sql} AS TIMESTAMP) {sign} {right.sql})", Type("DATETIME"))
    if (
        left.type.kind == right.type.kind
        and sign == "-"
        and left.type.kind in {"DATE", "DATETIME", "TIMESTAMP"}
    ):
        raise unsupported(f"{left.type} - {right.type}; use {left.type}_DIFF")
    raise _no_signature(sign, left, right)


@handles(exp.Div)
def _divide(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    left, right = _both(node, scope, context)
    return divide(left, right, "bq_divide")


def divide(left: Expr, right: Expr, macro: str) -> Expr:
    """Divide two numbers: integers give FLOAT64, NUMERIC stays exact."""
    result = numeric_result(left, right)
    if result is None:
        raise _no_signature("/", left, right)
    if result == NUMERIC:
        if macro != "bq_divide":
            raise unsupported("this division of NUMERIC values")
        return Expr(f"bq_numeric_divide({coerce(left, NUMERIC).sql}, {coerce(right, NUMERIC).sql})", NUMERIC)
    return Expr(f"{macro}({coerce(left, FLOAT64).sql}, {coerce(right, FLOAT64).sql})", FLOAT64)


@handles(exp.Neg)
def _negative(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    if isinstance(node.this, exp.Literal) and not node.this.is_string and node.this.name.isdigit():
        value = -int(node.this.name)
        if value < -(2**63):
            raise invalid_query(f"Invalid integer literal: {value}")
        return Expr(f"CAST({value} AS BIGINT)", INT64, constant=True, text=str(value))
    value_ = translate(node.this, scope, context)
    if value_.type.kind not in {"INT64", "FLOAT64", "NUMERIC", "INTERVAL", "NULL"}:
        raise _no_signature("-", value_)
    return Expr(f"(-{value_.sql})", value_.type, constant=value_.constant)


@handles(*_COMPARISON)
def _compare(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    left, right = _both(node, scope, context)
    return compare(_COMPARISON[type(node)], left, right)


def compare(sign: str, left: Expr, right: Expr) -> Expr:
    """Compare two values of one type; NaN equals nothing, itself included."""
    if NULL in (left.type, right.type) and left.constant and right.constant:
        raise invalid_query(f"Operands of {sign} cannot be literal NULL")
    common = supertype([left, right], f"operator {sign}")
    comparable(common, f"Equality operator {sign}" if sign in {"=", "<>"} else f"Operator {sign}")
    first, second = coerce(left, common).sql, coerce(right, common).sql
    sql = f"({first} {sign} {second})"
    if common == FLOAT64:
        firm = [side for side, expr in ((first, left), (second, right)) if not expr.constant]
        ordered = " AND ".join(f"NOT isnan({side})" for side in firm)
        if ordered and sign == "<>":
            sql = f"({sql} OR NOT ({ordered}))"
        elif ordered:
            sql = f"({sql} AND {ordered})"
    return Expr(sql, BOOL)


@handles(exp.NullSafeEQ, exp.NullSafeNEQ)
def _distinct_from(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    left, right = _both(node, scope, context)
    common = supertype([left, right], "operator IS DISTINCT FROM")
    comparable(common, "IS DISTINCT FROM")
    word = "IS NOT DISTINCT FROM" if isinstance(node, exp.NullSafeEQ) else "IS DISTINCT FROM"
    return Expr(f"({coerce(left, common).sql} {word} {coerce(right, common).sql})", BOOL)


@handles(exp.And, exp.Or)
def _logic(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    word = "AND" if isinstance(node, exp.And) else "OR"
    left, right = _both(node, scope, context)
    first, second = boolean(left, f"operand of {word}"), boolean(right, f"operand of {word}")
    return Expr(f"({first.sql} {word} {second.sql})", BOOL)


@handles(exp.Not)
def _not(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this")
    value = boolean(translate(node.this, scope, context), "operand of NOT")
    return Expr(f"(NOT {value.sql})", BOOL)


@handles(exp.Is)
def _is(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "expression")
    value = translate(node.this, scope, context)
    if isinstance(node.expression, exp.Null):
        return Expr(f"({value.sql} IS NULL)", BOOL)
    if isinstance(node.expression, exp.Boolean):
        boolean(value, "operand of IS")
        return Expr(f"({value.sql} IS {'TRUE' if node.expression.this else 'FALSE'})", BOOL)
    raise unsupported(f"IS {node.expression.sql(dialect='bigquery')}")


@handles(exp.Between)
def _between(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "low", "high")
    value, low, high = translate_all([node.this, node.args["low"], node.args["high"]], scope, context)
    above, below = compare(">=", value, low), compare("<=", value, high)
    return Expr(f"({above.sql} AND {below.sql})", BOOL)


@handles(exp.Like)
def _like(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "expression", "negate")
    value, pattern = translate_all([node.this, node.expression], scope, context)
    if {value.type.kind, pattern.type.kind} - {"STRING", "NULL"}:
        raise _no_signature("LIKE", value, pattern)
    word = "NOT LIKE" if node.args.get("negate") else "LIKE"
    return Expr(f"({value.sql} {word} {pattern.sql} ESCAPE '\\')", BOOL)


@handles(exp.DPipe)
def _concat(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    left, right = _both(node, scope, context)
    common = supertype([left, right], "operator ||")
    if common.kind not in {"STRING", "BYTES", "ARRAY"}:
        raise _no_signature("||", left, right)
    return Expr(f"({coerce(left, common).sql} || {coerce(right, common).sql})", common)


@handles(*_BITS)
def _bits(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    left, right = _both(node, scope, context)
    sign = _BITS[type(node)]
    if not (coerces(left, INT64) and coerces(right, INT64)):
        raise _no_signature(sign, left, right)
    if sign in {"<<", ">>"}:
        raise unsupported(f"the operator {sign}")
    return Expr(f"({left.sql} {sign} {right.sql})", INT64)


@handles(exp.BitwiseXor)
def _xor(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    left, right = _both(node, scope, context)
    return Expr(f"xor({coerce(left, INT64).sql}, {coerce(right, INT64).sql})", INT64)
