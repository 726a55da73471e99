"""The select list: names, stars, and what a query gives out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import Field, quoted, struct, struct_field_names
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from .dialect import only
from .expressions import resolve, translate
from .scope import Context, Expr, Output, Scope


@dataclass(frozen=True, slots=True)
class Item:
    """One column of the select list; `explicit` says that its name was given with AS."""

    name: str | None
    expr: Expr
    explicit: bool = False


def select_list(node: exp.Expr, scope: Scope, context: Context) -> list[Item]:
    """Translate the select list, stars spread out."""
    items: list[Item] = []
    for part in node.expressions:
        value = part.this if isinstance(part, exp.Alias) else part
        star = value if isinstance(value, exp.Star) else value.this if isinstance(value, exp.Column) else None
        if isinstance(star, exp.Star):
            items += _star(value, star, scope, context)
        elif isinstance(value, exp.Dot) and isinstance(value.expression, exp.Star):
            items += _expand(
                _members(translate(value.this, scope, context)), value.expression, scope, context
            )
        else:
            expr = translate(value, scope, context)
            explicit = isinstance(part, exp.Alias)
            items.append(Item(part.alias if explicit else expr.name, expr, explicit=explicit))
    if not items:
        raise invalid_query("Syntax error: SELECT list must not be empty")
    return items


def _star(node: exp.Expr, star: exp.Star, scope: Scope, context: Context) -> list[Item]:
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
    return _expand(_members(resolve(names, node, scope, context)), star, scope, context)


def _members(expr: Expr) -> list[tuple[str, Expr]]:
    if expr.type.kind != "STRUCT":
        raise invalid_query(f"Dot-star is not supported for type {expr.type}")
    names = zip(struct_field_names(expr.type), expr.type.fields, strict=True)
    return [
        (f.name, Expr(f"struct_extract({expr.sql}, '{inner}')", f.type, name=f.name)) for inner, f in names
    ]


def _expand(
    members: Sequence[tuple[str, Expr]], star: exp.Star, scope: Scope, context: Context
) -> list[Item]:
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
        Item(name or None, replaced.get(name.lower(), expr))
        for name, expr in members
        if name.lower() not in left_out
    ]


def as_value(kind: str, items: list[Item]) -> list[Item]:
    """Make one value of the select list, for SELECT AS STRUCT and SELECT AS VALUE."""
    if kind == "VALUE":
        if len(items) != 1:
            raise invalid_query("SELECT AS VALUE query must have exactly one column")
        return [replace(items[0], name=None)]
    if kind != "STRUCT":
        raise unsupported(f"SELECT AS {kind}")
    type_ = struct([Field(item.name or "", item.expr.type) for item in items])
    pairs = zip(struct_field_names(type_), items, strict=True)
    packed = ", ".join(f"{quoted(name)} := {item.expr.sql}" for name, item in pairs)
    return [Item(None, Expr(f"struct_pack({packed})", type_))]


def outputs_of(items: Sequence[Item]) -> tuple[Output, ...]:
    """Name the columns as BigQuery does: those without a name are f0_, f1_, ..."""
    outputs, unnamed = [], 0
    for index, item in enumerate(items, 1):
        name = item.name
        if not name:
            name, unnamed = f"f{unnamed}_", unnamed + 1
        outputs.append(Output(name, f"c{index}", item.expr.type))
    return tuple(outputs)
