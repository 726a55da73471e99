"""Queries as expressions: scalar subqueries, EXISTS, ARRAY(...) and IN."""

from __future__ import annotations

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import BOOL, array
from airflow_batch_gemini.local.bigquery.errors import invalid_query

from .calls import Call, function
from .casts import coerce, comparable, supertype
from .dialect import only
from .expressions import handles, translate
from .fold import fold
from .lexer import ARRAY_QUERY
from .scope import Context, Expr, Scope
from .select import cast_outputs, query


@handles(exp.Subquery, exp.Select, exp.Union, exp.Except, exp.Intersect)
def _scalar(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    inner = node.this if isinstance(node, exp.Subquery) and not node.args.get("order") else node
    folded = fold(inner, scope, context)
    if folded is not None:
        return folded
    found = query(node, scope, context)
    if len(found.outputs) != 1:
        raise invalid_query(
            "Scalar subquery cannot have more than one column unless using SELECT AS STRUCT to build STRUCT values"
        )
    return Expr(f"({found.sql})", found.outputs[0].type)


@handles(exp.Exists)
def _exists(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    inner = node.this.this if isinstance(node.this, exp.Subquery) else node.this
    folded = fold(inner, scope, context, exists=True)
    return folded or Expr(f"EXISTS ({query(inner, scope, context).sql})", BOOL)


@function(ARRAY_QUERY)
def _array_of_query(call: Call) -> Expr:
    call.count(1)
    inner = call.arguments[0]
    folded = fold(inner, call.scope, call.context, array=True)
    if folded is not None:
        return folded
    found = query(inner, call.scope, call.context)
    if len(found.outputs) != 1:
        raise invalid_query(
            "ARRAY subquery cannot have more than one column unless using SELECT AS STRUCT to build STRUCT values"
        )
    return Expr(f"ARRAY({found.sql})", array(found.outputs[0].type))


@handles(exp.In)
def _in(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "expressions", "query", "unnest")
    value = translate(node.this, scope, context)
    if node.args.get("unnest") is not None:
        items = translate(node.args["unnest"].expressions[0], scope, context)
        if items.type.kind != "ARRAY":
            raise invalid_query(f"UNNEST takes an array, not {items.type}")
        common = supertype([value, Expr("e", items.type.item)], "operator IN UNNEST")
        comparable(common, "Operator IN")
        return Expr(f"bq_in_array({coerce(value, common).sql}, {coerce(items, array(common)).sql})", BOOL)
    if node.args.get("query") is not None:
        subquery = node.args["query"]
        found = query(subquery.this if isinstance(subquery, exp.Subquery) else subquery, scope, context)
        if len(found.outputs) != 1:
            raise invalid_query("Subquery of type IN must have only one output column")
        common = supertype([value, Expr("e", found.outputs[0].type)], "operator IN")
        comparable(common, "Operator IN")
        return Expr(f"({coerce(value, common).sql} IN ({cast_outputs(found, [common], context)}))", BOOL)
    listed = [translate(part, scope, context) for part in node.expressions]
    common = supertype([value, *listed], "operator IN")
    comparable(common, "Operator IN")
    inner = ", ".join(coerce(part, common).sql for part in listed)
    return Expr(f"({coerce(value, common).sql} IN ({inner}))", BOOL)
