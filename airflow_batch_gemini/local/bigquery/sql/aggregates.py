"""Aggregate and window functions, and the clauses inside their parentheses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import (
    BOOL,
    FLOAT64,
    INT64,
    NULL,
    NUMERIC,
    STRING,
    Type,
    array,
    literal,
)
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from .calls import Call, function
from .casts import boolean, coerce, comparable
from .dialect import only
from .expressions import constant_text, translate
from .scope import Expr, ordering


@dataclass(frozen=True, slots=True)
class Modifiers:
    """What stands inside an aggregate call beside its arguments."""

    arguments: list[exp.Expr] = field(default_factory=list)
    distinct: bool = False
    ignore_nulls: bool = False
    order: Sequence[exp.Expr] = ()
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A translated aggregate: OVER goes behind `core`, `wrap` goes around both."""

    core: str
    type: Type
    wrap: str = "{}"

    def expr(self, over: str = "", *, safe: bool = False) -> Expr:
        """Make the expression, with a window or without."""
        if safe:
            raise unsupported("SAFE with an aggregate function")
        return Expr(self.wrap.format(self.core + over), self.type)


def modifiers(call: Call) -> Modifiers:
    """Peel DISTINCT, IGNORE NULLS, ORDER BY and LIMIT from the arguments."""
    found = Modifiers()
    plain: list[exp.Expr] = []
    for argument in call.arguments:
        node = argument
        while isinstance(node, exp.Limit | exp.Order | exp.IgnoreNulls | exp.RespectNulls):
            if isinstance(node, exp.Limit):
                found = replace(found, limit=int(node.expression.name))
            elif isinstance(node, exp.Order):
                found = replace(found, order=node.expressions)
            elif isinstance(node, exp.IgnoreNulls):
                found = replace(found, ignore_nulls=True)
            node = node.this
        if isinstance(node, exp.Distinct):
            only(node, "expressions")
            found = replace(found, distinct=True)
            plain += node.expressions
        elif node is not None:
            plain.append(node)
    return replace(found, arguments=plain)


def _orders(given: Modifiers, call: Call) -> str:
    keys = []
    for part in given.order:
        key = translate(part.this, call.scope, call.context)
        comparable(key.type, "ORDER BY")
        keys.append(f"{key.sql} {ordering(part)}")
    return f" ORDER BY {', '.join(keys)}" if keys else ""


def _one(given: Modifiers, call: Call) -> Expr:
    if len(given.arguments) != 1:
        raise invalid_query(f"Number of arguments does not match for aggregate function {call.name}")
    return translate(given.arguments[0], call.scope, call.context)


def _plain(given: Modifiers, call: Call) -> None:
    if given.order or given.limit is not None or given.ignore_nulls:
        raise invalid_query(f"{call.name} does not support ORDER BY, LIMIT or IGNORE NULLS in its arguments")


def _count(call: Call) -> Aggregate:
    given = modifiers(call)
    _plain(given, call)
    if len(given.arguments) == 1 and isinstance(given.arguments[0], exp.Star):
        return Aggregate("count(*)", INT64)
    value = _one(given, call)
    if given.distinct:
        comparable(value.type, "Aggregate functions with DISTINCT")
    return Aggregate(f"count({'DISTINCT ' if given.distinct else ''}{value.sql})", INT64)


def _countif(call: Call) -> Aggregate:
    given = modifiers(call)
    _plain(given, call)
    return Aggregate(f"count(*) FILTER (WHERE {boolean(_one(given, call), 'COUNTIF').sql})", INT64)


def _sum(call: Call) -> Aggregate:
    given = modifiers(call)
    _plain(given, call)
    value, distinct = _one(given, call), "DISTINCT " if given.distinct else ""
    casts = {
        "INT64": "CAST({} AS BIGINT)",
        "NULL": "CAST({} AS BIGINT)",
        "FLOAT64": "{}",
        "NUMERIC": "CAST({} AS DECIMAL(38,9))",
    }
    if value.type.kind not in casts:
        raise call.no_signature([value])
    return Aggregate(
        f"sum({distinct}{value.sql})", INT64 if value.type == NULL else value.type, casts[value.type.kind]
    )


def _average(call: Call) -> Aggregate:
    given = modifiers(call)
    _plain(given, call)
    value = _one(given, call)
    if value.type == NUMERIC:
        raise unsupported("AVG of NUMERIC values")
    return Aggregate(f"avg({'DISTINCT ' if given.distinct else ''}{coerce(value, FLOAT64).sql})", FLOAT64)


def _float(native: str) -> Callable[[Call], Aggregate]:
    def translator(call: Call) -> Aggregate:
        given = modifiers(call)
        _plain(given, call)
        return Aggregate(f"{native}({coerce(_one(given, call), FLOAT64).sql})", FLOAT64)

    return translator


def _same(native: str, *, ordered: bool = True) -> Callable[[Call], Aggregate]:
    def translator(call: Call) -> Aggregate:
        given = modifiers(call)
        _plain(given, call)
        value = _one(given, call)
        if ordered:
            comparable(value.type, call.name)
        return Aggregate(f"{native}({value.sql})", value.type)

    return translator


def _logical(native: str) -> Callable[[Call], Aggregate]:
    def translator(call: Call) -> Aggregate:
        given = modifiers(call)
        _plain(given, call)
        return Aggregate(f"{native}({boolean(_one(given, call), call.name).sql})", BOOL)

    return translator


def _extreme_by(native: str) -> Callable[[Call], Aggregate]:
    def translator(call: Call) -> Aggregate:
        call.count(2)
        value, key = call.args()
        comparable(key.type, call.name)
        return Aggregate(f"{native}({value.sql}, {key.sql})", value.type)

    return translator


def _approximate_count(call: Call) -> Aggregate:
    given = modifiers(call)
    value = _one(given, call)
    comparable(value.type, call.name)
    return Aggregate(f"count(DISTINCT {value.sql})", INT64)


def _string_agg(call: Call) -> Aggregate:
    given = modifiers(call)
    if not 1 <= len(given.arguments) <= 2:
        raise invalid_query("Number of arguments does not match for aggregate function STRING_AGG")
    value = translate(given.arguments[0], call.scope, call.context)
    separator = ","
    if len(given.arguments) == 2:
        separator = constant_text(translate(given.arguments[1], call.scope, call.context), "a separator")
    if value.type.kind not in {"STRING", "NULL"}:
        raise call.no_signature([value])
    distinct = "DISTINCT " if given.distinct else ""
    if given.limit is not None:
        core = f"list({distinct}{value.sql}{_orders(given, call)}) FILTER (WHERE {value.sql} IS NOT NULL)"
        return Aggregate(
            core, STRING, f"list_aggregate(({{}})[1:{given.limit}], 'string_agg', {literal(separator)})"
        )
    return Aggregate(f"string_agg({distinct}{value.sql}, {literal(separator)}{_orders(given, call)})", STRING)


def _array_agg(call: Call) -> Aggregate:
    given = modifiers(call)
    value = _one(given, call)
    if value.type.kind == "ARRAY":
        raise invalid_query("The argument to ARRAY_AGG must not be an array type")
    kept = f" FILTER (WHERE {value.sql} IS NOT NULL)" if given.ignore_nulls else ""
    core = f"list({'DISTINCT ' if given.distinct else ''}{value.sql}{_orders(given, call)}){kept}"
    return Aggregate(core, array(value.type), "{}" if given.limit is None else f"({{}})[1:{given.limit}]")


AGGREGATES: Mapping[str, Callable[[Call], Aggregate]] = {
    "COUNT": _count,
    "COUNTIF": _countif,
    "SUM": _sum,
    "AVG": _average,
    "MIN": _same("min"),
    "MAX": _same("max"),
    "ANY_VALUE": _same("any_value", ordered=False),
    "MAX_BY": _extreme_by("arg_max"),
    "MIN_BY": _extreme_by("arg_min"),
    "LOGICAL_AND": _logical("bool_and"),
    "LOGICAL_OR": _logical("bool_or"),
    "STDDEV": _float("stddev_samp"),
    "STDDEV_SAMP": _float("stddev_samp"),
    "STDDEV_POP": _float("stddev_pop"),
    "VARIANCE": _float("var_samp"),
    "VAR_SAMP": _float("var_samp"),
    "VAR_POP": _float("var_pop"),
    "APPROX_COUNT_DISTINCT": _approximate_count,
    "STRING_AGG": _string_agg,
    "ARRAY_AGG": _array_agg,
}


def _aggregate(call: Call) -> Expr:
    return AGGREGATES[call.name](call).expr(safe=call.safe)


function(*AGGREGATES)(_aggregate)
