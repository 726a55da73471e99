"""Translate queries: SELECT, set operations, WITH, and queries used as expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from ..datatypes import BOOL, NULL, Field, Type, array, quoted, struct, struct_field_names
from ..errors import invalid_query, unsupported
from .calls import Call, function
from .casts import boolean, coerce, comparable, supertype
from .dialect import only
from .expressions import handles, translate
from .fold import fold
from .relations import Source, translate_from
from .scope import Context, Expr, Output, Query, Scope

_SELECT = (
    "kind", "expressions", "from_", "joins", "where", "group", "having", "qualify", "order", "limit", "offset",
    "distinct", "windows", "with_",
)  # fmt: skip


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


def _with(node: exp.Expr, outer: Scope | None, context: Context, translator: object) -> Query:
    clause = node.args.get("with_")
    if clause is None:
        return translator(node, outer, context)  # type: ignore[operator, no-any-return]
    only(clause, "expressions")
    outside, definitions = context.ctes, []
    context.ctes = dict(outside)
    try:
        for cte in clause.expressions:
            only(cte, "this", "alias")
            inner = query(cte.this, outer, context)
            name = context.fresh("w")
            context.ctes[cte.alias.lower()] = replace(inner, sql=name)
            definitions.append(f"{name} AS ({inner.sql})")
        body: Query = translator(node, outer, context)  # type: ignore[operator]
    finally:
        context.ctes = outside
    return replace(body, sql=f"WITH {', '.join(definitions)} {body.sql}")


@dataclass(frozen=True, slots=True)
class _Item:
    name: str | None
    expr: Expr
    explicit: bool = False


def _select(node: exp.Expr, outer: Scope | None, context: Context) -> Query:
    source = _source(node, outer, context)
    scope = replace(source.scope, windows=_windows(node, source.scope, context))
    conditions = list(source.conditions)
    where = node.args.get("where")
    if where is not None:
        conditions.append(boolean(translate(where.this, scope, context), "WHERE clause").sql)
    items = _items(node, scope, context)
    aliases = {item.name.lower(): replace(item.expr, name=item.name) for item in items if item.explicit and item.name}
    later = replace(scope, aliases=aliases)
    if node.args.get("kind"):
        items = _as_value(str(node.args["kind"]).upper(), items)
    outputs = _outputs(items)
    distinct = node.args.get("distinct")
    if distinct is not None:
        only(distinct)
        for output in outputs:
            comparable(output.type, "SELECT DISTINCT")
    columns = ", ".join(f"{item.expr.sql} AS {o.inner}" for item, o in zip(items, outputs, strict=True))
    sql = f"SELECT {'DISTINCT ' if distinct else ''}{columns}"
    sql += f" FROM {source.sql}" if source.sql else ""
    sql += f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql += _group(node, items, later, context)
    for clause, word in (("having", "HAVING"), ("qualify", "QUALIFY")):
        if node.args.get(clause) is not None:
            condition = boolean(translate(node.args[clause].this, later, context), f"{word} clause")
            sql += f" {word} {condition.sql}"
    sql += _tail(node, outputs, later, context)
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
    from .aggregates import window_specification

    found: dict[str, str] = {}
    for window in node.args.get("windows") or []:
        found[window.name.lower()] = window_specification(window, replace(scope, windows=found), context)
    return found


def _items(node: exp.Expr, scope: Scope, context: Context) -> list[_Item]:
    items: list[_Item] = []
    for part in node.expressions:
        value = part.this if isinstance(part, exp.Alias) else part
        star = value if isinstance(value, exp.Star) else value.this if isinstance(value, exp.Column) else None
        if isinstance(star, exp.Star):
            items += _star(value, star, scope, context)
        elif isinstance(value, exp.Dot) and isinstance(value.expression, exp.Star):
            items += _expand(_members(translate(value.this, scope, context)), value.expression, scope, context)
        else:
            expr = translate(value, scope, context)
            explicit = isinstance(part, exp.Alias)
            items.append(_Item(part.alias if explicit else expr.name, expr, explicit=explicit))
    if not items:
        raise invalid_query("SELECT * expands to zero columns")
    return items


def _star(node: exp.Expr, star: exp.Star, scope: Scope, context: Context) -> list[_Item]:
    if isinstance(node, exp.Star):
        if not scope.relations:
            raise invalid_query("SELECT * must have a FROM clause")
        hidden = {name.lower() for name, _ in scope.merged}
        members = list(scope.merged)
        for relation in scope.relations:
            visible = list(relation.columns)
            if relation.value is not None and relation.value.type.kind != "STRUCT":
                visible.insert(0, (relation.alias or "", relation.value))
            members += [(name, expr) for name, expr in visible if name.lower() not in hidden]
        return _expand(members, star, scope, context)
    names = [part.name for part in node.parts[:-1]] if isinstance(node, exp.Column) else []
    for level in scope.levels():
        found = level.relation(names[0]) if len(names) == 1 else None
        if found is not None and found.value is None:
            return _expand(list(found.columns), star, scope, context)
    from .expressions import resolve

    return _expand(_members(resolve(names, node, scope, context)), star, scope, context)


def _members(expr: Expr) -> list[tuple[str, Expr]]:
    if expr.type.kind != "STRUCT":
        raise invalid_query(f"Dot-star is not supported for type {expr.type}")
    names = zip(struct_field_names(expr.type), expr.type.fields, strict=True)
    return [(f.name, Expr(f"struct_extract({expr.sql}, '{inner}')", f.type, name=f.name)) for inner, f in names]


def _expand(members: Sequence[tuple[str, Expr]], star: exp.Star, scope: Scope, context: Context) -> list[_Item]:
    only(star, "except_", "replace")
    left_out = {part.name.lower() for part in star.args.get("except_") or []}
    names = {name.lower() for name, _ in members}
    replaced = {}
    for part in star.args.get("replace") or []:
        replaced[part.alias.lower()] = translate(part.this, scope, context)
    missing = (left_out | replaced.keys()) - names
    if missing:
        raise invalid_query(f"Column {sorted(missing)[0]} in SELECT * EXCEPT or REPLACE list does not exist")
    return [
        _Item(name or None, replaced.get(name.lower(), expr))
        for name, expr in members
        if name.lower() not in left_out
    ]


def _as_value(kind: str, items: list[_Item]) -> list[_Item]:
    if kind == "VALUE":
        if len(items) != 1:
            raise invalid_query("SELECT AS VALUE query must have exactly one column")
        return [replace(items[0], name=None)]
    if kind != "STRUCT":
        raise unsupported(f"SELECT AS {kind}")
    type_ = struct([Field(item.name or "", item.expr.type) for item in items])
    pairs = zip(struct_field_names(type_), items, strict=True)
    packed = ", ".join(f"{quoted(name)} := {item.expr.sql}" for name, item in pairs)
    return [_Item(None, Expr(f"struct_pack({packed})", type_))]


def _outputs(items: Sequence[_Item]) -> tuple[Output, ...]:
    outputs, unnamed = [], 0
    for index, item in enumerate(items, 1):
        name = item.name
        if not name:
            name, unnamed = f"f{unnamed}_", unnamed + 1
        outputs.append(Output(name, f"c{index}", item.expr.type))
    return tuple(outputs)


def _group(node: exp.Expr, items: Sequence[_Item], scope: Scope, context: Context) -> str:
    group = node.args.get("group")
    if group is None:
        return ""
    only(group, "expressions", "all")
    if group.args.get("all"):
        return " GROUP BY ALL"
    keys = []
    for part in group.expressions:
        place = _ordinal(part, items)
        if place is not None:
            comparable(items[place - 1].expr.type, "Grouping")
            keys.append(str(place))
            continue
        key = translate(part, replace(scope, aliases={}), context)
        comparable(key.type, "Grouping")
        keys.append(key.sql)
    return f" GROUP BY {', '.join(keys)}"


def _ordinal(node: exp.Expr, items: Sequence[_Item]) -> int | None:
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


def _tail(node: exp.Expr, outputs: Sequence[Output], scope: Scope, context: Context) -> str:
    """Translate ORDER BY, LIMIT and OFFSET."""
    sql = ""
    order = node.args.get("order")
    if order is not None:
        only(order, "expressions")
        sql += " ORDER BY " + ", ".join(_order_key(part, outputs, scope, context) for part in order.expressions)
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


def ordering(part: exp.Expr) -> str:
    """Say direction and place of NULLs: in GoogleSQL they are smaller than everything."""
    direction = "DESC" if part.args.get("desc") else "ASC"
    return f"{direction} NULLS {'FIRST' if part.args.get('nulls_first') else 'LAST'}"


def _wrapped(node: exp.Expr, outer: Scope | None, context: Context) -> Query:
    inner = query(node.this, outer, context)
    return _reordered(node, inner, outer, context)


def _reordered(node: exp.Expr, inner: Query, outer: Scope | None, context: Context) -> Query:
    if not any(node.args.get(clause) for clause in ("order", "limit", "offset")):
        return inner
    table = context.fresh("t")
    scope = Scope(parent=outer, merged=tuple((o.name, Expr(f"{table}.{o.inner}", o.type)) for o in inner.outputs))
    tail = _tail(node, inner.outputs, scope, context)
    columns = ", ".join(f"{table}.{o.inner} AS {o.inner}" for o in inner.outputs)
    return replace(inner, sql=f"SELECT {columns} FROM ({inner.sql}) AS {table}{tail}")


def _set_operation(node: exp.Expr, outer: Scope | None, context: Context) -> Query:
    left, right = query(node.this, outer, context), query(node.expression, outer, context)
    word = {exp.Union: "UNION", exp.Except: "EXCEPT", exp.Intersect: "INTERSECT"}[type(node)]
    distinct = bool(node.args.get("distinct"))
    if len(left.outputs) != len(right.outputs):
        raise invalid_query(f"Queries in {word} have mismatched column count")
    types = []
    for a, b in zip(left.outputs, right.outputs, strict=True):
        common = supertype([Expr("a", a.type, constant=a.type == NULL), Expr("b", b.type)], f"{word} {a.name}")
        if distinct:
            comparable(common, f"{word} DISTINCT")
        types.append(common)
    outputs = tuple(replace(o, type=t) for o, t in zip(left.outputs, types, strict=True))
    sides = [_cast_outputs(side, types, context) for side in (left, right)]
    sql = f"({sides[0]}) {word}{'' if distinct else ' ALL'} ({sides[1]})"
    return _reordered(node, Query(sql, outputs), outer, context)


def _cast_outputs(side: Query, types: Sequence[Type], context: Context) -> str:
    if all(o.type == t for o, t in zip(side.outputs, types, strict=True)):
        return side.sql
    table = context.fresh("t")
    columns = ", ".join(
        f"{coerce(Expr(f'{table}.{o.inner}', o.type), t).sql} AS {o.inner}"
        for o, t in zip(side.outputs, types, strict=True)
    )
    return f"SELECT {columns} FROM ({side.sql}) AS {table}"


@handles(exp.Subquery, exp.Select, exp.Union, exp.Except, exp.Intersect)
def _scalar(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    inner = node.this if isinstance(node, exp.Subquery) and not node.args.get("order") else node
    folded = fold(inner, scope, context)
    if folded is not None:
        return folded
    found = query(node, scope, context)
    if len(found.outputs) != 1:
        raise invalid_query("Scalar subquery cannot have more than one column unless using SELECT AS STRUCT to build STRUCT values")
    return Expr(f"({found.sql})", found.outputs[0].type)


@handles(exp.Exists)
def _exists(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    inner = node.this.this if isinstance(node.this, exp.Subquery) else node.this
    folded = fold(inner, scope, context, exists=True)
    return folded or Expr(f"EXISTS ({query(inner, scope, context).sql})", BOOL)


@function("ARRAY")
def _array_of_query(call: Call) -> Expr:
    call.count(1)
    inner = call.arguments[0]
    folded = fold(inner, call.scope, call.context, array=True)
    if folded is not None:
        return folded
    found = query(inner, call.scope, call.context)
    if len(found.outputs) != 1:
        raise invalid_query("ARRAY subquery cannot have more than one column unless using SELECT AS STRUCT to build STRUCT values")
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
        return Expr(f"({coerce(value, common).sql} IN ({_cast_outputs(found, [common], context)}))", BOOL)
    listed = [translate(part, scope, context) for part in node.expressions]
    common = supertype([value, *listed], "operator IN")
    comparable(common, "Operator IN")
    inner = ", ".join(coerce(part, common).sql for part in listed)
    return Expr(f"({coerce(value, common).sql} IN ({inner}))", BOOL)
