"""The clauses behind FROM and WHERE: GROUP BY, ORDER BY, LIMIT and OFFSET."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.errors import invalid_query

from .casts import comparable
from .dialect import only
from .expressions import translate
from .scope import Context, Output, Scope, ordering
from .select_list import Item


def group(node: exp.Expr, items: Sequence[Item], scope: Scope, context: Context) -> str:
    """Translate GROUP BY, whose items may be numbers, aliases of the select list, or expressions."""
    clause = node.args.get("group")
    if clause is None:
        return ""
    only(clause, "expressions", "all")
    if clause.args.get("all"):
        return " GROUP BY ALL"
    keys = []
    for part in clause.expressions:
        place = _ordinal(part, items)
        if place is not None:
            comparable(items[place - 1].expr.type, "Grouping")
            keys.append(str(place))
            continue
        key = translate(part, replace(scope, aliases={}), context)
        comparable(key.type, "Grouping")
        keys.append(key.sql)
    return f" GROUP BY {', '.join(keys)}"


def _ordinal(node: exp.Expr, items: Sequence[Item]) -> int | None:
    """The place in the select list that a GROUP BY item names by number or by alias."""
    if isinstance(node, exp.Literal) and not node.is_string:
        if not node.name.isdigit() or not 1 <= int(node.name) <= len(items):
            raise invalid_query(f"GROUP BY is out of SELECT column number range: {node.name}")
        return int(node.name)
    if isinstance(node, exp.Column) and len(node.parts) == 1:
        for place, item in enumerate(items, 1):
            if item.explicit and item.name and item.name.lower() == node.name.lower():
                return place
    return None


def tail(node: exp.Expr, outputs: Sequence[Output], scope: Scope, context: Context) -> str:
    """Translate ORDER BY, LIMIT and OFFSET."""
    sql = ""
    order = node.args.get("order")
    if order is not None:
        only(order, "expressions")
        sql += " ORDER BY " + ", ".join(
            _order_key(part, outputs, scope, context) for part in order.expressions
        )
    for clause, word in (("limit", "LIMIT"), ("offset", "OFFSET")):
        if node.args.get(clause) is not None:
            only(node.args[clause], "expression")
            count = translate(node.args[clause].expression, scope, context)
            if count.type.kind != "INT64" or not count.constant:
                raise invalid_query(f"{word} expects an integer literal or parameter")
            sql += f" {word} {count.sql}"
    return sql


def _order_key(part: exp.Expr, outputs: Sequence[Output], scope: Scope, context: Context) -> str:
    only(part, "this", "desc", "nulls_first")
    direction = ordering(part)
    inner = part.this
    named = [i for i, o in enumerate(outputs, 1) if isinstance(inner, exp.Column) and len(inner.parts) == 1
             and o.name.lower() == inner.name.lower()]  # fmt: skip
    if isinstance(inner, exp.Literal) and inner.name.isdigit() and not inner.is_string:
        if not 1 <= int(inner.name) <= len(outputs):
            raise invalid_query(f"ORDER BY is out of SELECT column number range: {inner.name}")
        named = [int(inner.name)]
    if named:
        comparable(outputs[named[0] - 1].type, "ORDER BY")
        return f"{named[0]} {direction}"
    key = translate(inner, scope, context)
    comparable(key.type, "ORDER BY")
    return f"{key.sql} {direction}"
