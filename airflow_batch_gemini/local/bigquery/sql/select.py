"""Translate queries: SELECT, set operations and WITH."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import NULL, Type
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from .casts import boolean, coerce, comparable, supertype
from .clauses import group, tail
from .dialect import only, plain_alias
from .expressions import translate
from .relations import Source, translate_from
from .scope import Context, Expr, Query, Scope
from .select_list import as_value, outputs_of, select_list
from .windows import window_specification

_SELECT = (
    "kind", "expressions", "from_", "joins", "where", "group", "having", "qualify", "order", "limit", "offset",
    "distinct", "windows", "with_",
)  # fmt: skip


Translator = Callable[[exp.Expr, Scope | None, Context], Query]


def query(node: exp.Expr, outer: Scope | None, context: Context) -> Query:
    """Translate a query; its columns are named c1, c2, ... inside."""
    if isinstance(node, exp.Subquery):
        only(node, "this", "order", "limit", "offset", "with_")
        return _with(node, outer, context, _wrapped)
    if isinstance(node, exp.Select):
        only(node, *_SELECT)
        return _with(node, outer, context, _select)
    if isinstance(node, exp.SetOperation):
        only(node, "this", "expression", "distinct", "order", "limit", "offset", "with_")
        return _with(node, outer, context, _set_operation)
    raise unsupported(f"{type(node).__name__.upper()} as a query")


def _with(node: exp.Expr, outer: Scope | None, context: Context, translator: Translator) -> Query:
    clause = node.args.get("with_")
    if clause is None:
        return translator(node, outer, context)
    only(clause, "expressions")
    outside, definitions = context.ctes, []
    context.ctes = dict(outside)
    try:
        for cte in clause.expressions:
            only(cte, "this", "alias")
            plain_alias(cte)
            inner = query(cte.this, outer, context)
            name = context.fresh("w")
            context.ctes[cte.alias.lower()] = replace(inner, sql=name)
            definitions.append(f"{name} AS ({inner.sql})")
        body = translator(node, outer, context)
    finally:
        context.ctes = outside
    inner_sql = f"SELECT * FROM ({body.sql})" if body.sql.startswith("WITH ") else body.sql
    return replace(body, sql=f"WITH {', '.join(definitions)} {inner_sql}")


def _select(node: exp.Expr, outer: Scope | None, context: Context) -> Query:
    source = _source(node, outer, context)
    scope = replace(source.scope, windows=_windows(node, source.scope, context))
    conditions = list(source.conditions)
    where = node.args.get("where")
    if where is not None:
        conditions.append(boolean(translate(where.this, scope, context), "WHERE clause").sql)
    items = select_list(node, scope, context)
    aliases = {
        item.name.lower(): replace(item.expr, name=item.name) for item in items if item.explicit and item.name
    }
    later = replace(scope, aliases=aliases)
    if node.args.get("kind"):
        items = as_value(str(node.args["kind"]).upper(), items)
    outputs = outputs_of(items)
    distinct = node.args.get("distinct")
    if distinct is not None:
        only(distinct)
        for output in outputs:
            comparable(output.type, "SELECT DISTINCT")
    columns = ", ".join(f"{item.expr.sql} AS {o.inner}" for item, o in zip(items, outputs, strict=True))
    sql = f"SELECT {'DISTINCT ' if distinct else ''}{columns}"
    sql += f" FROM {source.sql}" if source.sql else ""
    sql += f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql += group(node, items, later, context)
    for clause, word in (("having", "HAVING"), ("qualify", "QUALIFY")):
        if node.args.get(clause) is not None:
            condition = boolean(translate(node.args[clause].this, later, context), f"{word} clause")
            sql += f" {word} {condition.sql}"
    sql += tail(node, outputs, later, context)
    return Query(sql, outputs)


def _source(node: exp.Expr, outer: Scope | None, context: Context) -> Source:
    clause = node.args.get("from_")
    if clause is None:
        if node.args.get("where") is not None:
            raise invalid_query("Query without FROM clause cannot have a WHERE clause")
        return Source("", Scope(parent=outer))
    only(clause, "this")
    return translate_from(clause.this, node.args.get("joins") or [], outer, context, query)


def _windows(node: exp.Expr, scope: Scope, context: Context) -> dict[str, str]:
    found: dict[str, str] = {}
    for window in node.args.get("windows") or []:
        found[window.name.lower()] = window_specification(window, replace(scope, windows=found), context)
    return found


def _wrapped(node: exp.Expr, outer: Scope | None, context: Context) -> Query:
    inner = query(node.this, outer, context)
    return _reordered(node, inner, outer, context)


def _reordered(node: exp.Expr, inner: Query, outer: Scope | None, context: Context) -> Query:
    if not any(node.args.get(clause) for clause in ("order", "limit", "offset")):
        return inner
    table = context.fresh("t")
    scope = Scope(
        parent=outer, merged=tuple((o.name, Expr(f"{table}.{o.inner}", o.type)) for o in inner.outputs)
    )
    ending = tail(node, inner.outputs, scope, context)
    columns = ", ".join(f"{table}.{o.inner} AS {o.inner}" for o in inner.outputs)
    return replace(inner, sql=f"SELECT {columns} FROM ({inner.sql}) AS {table}{ending}")


def _set_operation(node: exp.Expr, outer: Scope | None, context: Context) -> Query:
    left, right = query(node.this, outer, context), query(node.expression, outer, context)
    word = type(node).__name__.upper()
    distinct = bool(node.args.get("distinct"))
    if len(left.outputs) != len(right.outputs):
        raise invalid_query(f"Queries in {word} have mismatched column count")
    types = []
    for a, b in zip(left.outputs, right.outputs, strict=True):
        common = supertype(
            [Expr("a", a.type, constant=a.type == NULL), Expr("b", b.type)], f"{word} {a.name}"
        )
        if distinct:
            comparable(common, f"{word} DISTINCT")
        types.append(common)
    outputs = tuple(replace(o, type=t) for o, t in zip(left.outputs, types, strict=True))
    sides = [cast_outputs(side, types, context) for side in (left, right)]
    sql = f"({sides[0]}) {word}{'' if distinct else ' ALL'} ({sides[1]})"
    return _reordered(node, Query(sql, outputs), outer, context)


def cast_outputs(side: Query, types: Sequence[Type], context: Context) -> str:
    """Render a query whose columns have these types."""
    if all(o.type == t for o, t in zip(side.outputs, types, strict=True)):
        return side.sql
    table = context.fresh("t")
    columns = ", ".join(
        f"{coerce(Expr(f'{table}.{o.inner}', o.type), t).sql} AS {o.inner}"
        for o, t in zip(side.outputs, types, strict=True)
    )
    return f"SELECT {columns} FROM ({side.sql}) AS {table}"
