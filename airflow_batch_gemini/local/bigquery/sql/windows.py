"""Window functions, and what stands behind OVER."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import FLOAT64, INT64, Type
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from .aggregates import AGGREGATES, Aggregate, modifiers
from .calls import Call
from .casts import coerce, comparable
from .dialect import only
from .expressions import handles, translate
from .scope import Context, Expr, Scope, ordering

_NUMBERING: Mapping[str, tuple[str, Type]] = {
    "ROW_NUMBER": ("row_number()", INT64),
    "RANK": ("rank()", INT64),
    "DENSE_RANK": ("dense_rank()", INT64),
    "PERCENT_RANK": ("percent_rank()", FLOAT64),
    "CUME_DIST": ("cume_dist()", FLOAT64),
}
_NAVIGATION = frozenset({"LAG", "LEAD", "FIRST_VALUE", "LAST_VALUE", "NTH_VALUE"})


def _windowed(call: Call, *, ignore_nulls: bool) -> Aggregate:
    if call.name in _NUMBERING:
        call.count(0)
        core, type_ = _NUMBERING[call.name]
        return Aggregate(core, type_)
    if call.name == "NTILE":
        call.count(1)
        return Aggregate(f"ntile({call.arg(0).sql})", INT64)
    if call.name in _NAVIGATION:
        given = modifiers(call)
        args = [translate(node, call.scope, call.context) for node in given.arguments]
        texts = [
            args[0].sql,
            *(arg.sql for arg in args[1:2]),
            *(coerce(arg, args[0].type).sql for arg in args[2:]),
        ]
        nulls = " IGNORE NULLS" if given.ignore_nulls or ignore_nulls else ""
        return Aggregate(f"{call.name.lower()}({', '.join(texts)}{nulls})", args[0].type)
    if call.name not in AGGREGATES:
        raise invalid_query(f"{call.name} is not an analytic function")
    return AGGREGATES[call.name](call)


@handles(exp.Window)
def _window(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    inner, ignore_nulls = node.this, False
    while isinstance(inner, exp.IgnoreNulls | exp.RespectNulls):
        ignore_nulls = isinstance(inner, exp.IgnoreNulls)
        inner = inner.this
    if not isinstance(inner, exp.Anonymous):
        raise unsupported(f"OVER after {inner.sql(dialect='bigquery')[:60]}")
    call = Call(str(inner.this).upper(), inner.expressions, scope, context)
    return _windowed(call, ignore_nulls=ignore_nulls).expr(
        f" OVER ({window_specification(node, scope, context)})"
    )


def window_specification(node: exp.Expr, scope: Scope, context: Context) -> str:
    """Translate what stands in the parentheses after OVER, or the named window it refers to."""
    only(node, "this", "partition_by", "order", "spec", "alias", "over", "first")
    parts = []
    alias = node.args.get("alias")
    if alias is not None:
        if alias.name.lower() not in scope.windows:
            raise invalid_query(f"Unrecognized window alias {alias.name}")
        parts.append(scope.windows[alias.name.lower()])
    if node.args.get("partition_by"):
        keys = [translate(part, scope, context) for part in node.args["partition_by"]]
        for key in keys:
            comparable(key.type, "PARTITION BY")
        parts.append(f"PARTITION BY {', '.join(key.sql for key in keys)}")
    order = node.args.get("order")
    if order is not None:
        keys_ = []
        for part in order.expressions:
            key = translate(part.this, scope, context)
            comparable(key.type, "ORDER BY")
            keys_.append(f"{key.sql} {ordering(part)}")
        parts.append(f"ORDER BY {', '.join(keys_)}")
    spec = node.args.get("spec")
    if spec is not None:
        parts.append(_frame(spec, scope, context))
    return " ".join(parts)


def _frame(spec: exp.Expr, scope: Scope, context: Context) -> str:
    only(spec, "kind", "start", "start_side", "end", "end_side")

    def bound(value: object, side: object) -> str:
        if isinstance(value, exp.Expr):
            return f"{coerce(translate(value, scope, context), INT64).sql} {side}"
        return f"{value or 'CURRENT ROW'} {side or ''}".strip()

    start = bound(spec.args.get("start"), spec.args.get("start_side"))
    end = bound(spec.args.get("end"), spec.args.get("end_side"))
    return f"{spec.args['kind']} BETWEEN {start} AND {end}"
