"""Translate one expression: the dispatch by node, names, literals, fields and subscripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlglot import exp

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
    quoted,
    struct_field_names,
)
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from . import jsonpath
from .casts import boolean, cast, coerce, supertype
from .dialect import only, position, type_of
from .scope import Context, Expr, Scope, string

Handler = Callable[[exp.Expr, Scope, Context], Expr]
_HANDLERS: dict[type[exp.Expr], Handler] = {}
_MAX_INT64 = 2**63 - 1
# How an element is named by its place: the place of the first one, and whether a missing one is NULL.
_SUBSCRIPTS = {
    "OFFSET": (0, False),
    "ORDINAL": (1, False),
    "SAFE_OFFSET": (0, True),
    "SAFE_ORDINAL": (1, True),
}


def handles(*kinds: type[exp.Expr]) -> Callable[[Handler], Handler]:
    """Register a function as the translator of some kinds of node."""

    def register(handler: Handler) -> Handler:
        for kind in kinds:
            _HANDLERS[kind] = handler
        return handler

    return register


def translate(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    """Translate an expression; a node that nobody handles is refused by its name."""
    handler = _HANDLERS.get(type(node))
    if handler is None:
        raise unsupported(f"{type(node).__name__.upper()} in: {node.sql(dialect='bigquery')[:100]}")
    return handler(node, scope, context)


def translate_all(nodes: Sequence[exp.Expr], scope: Scope, context: Context) -> list[Expr]:
    """Translate several expressions."""
    return [translate(node, scope, context) for node in nodes]


@handles(exp.Literal)
def _literal(node: exp.Expr, _scope: Scope, _context: Context) -> Expr:
    if node.is_string:
        return string(node.name)
    text = node.name
    if text.isdigit():
        return integer(int(text))
    return Expr(f"CAST('{text}' AS DOUBLE)", FLOAT64, constant=True)


def integer(value: int) -> Expr:
    """Make an integer literal."""
    if not -_MAX_INT64 - 1 <= value <= _MAX_INT64:
        raise invalid_query(f"Invalid integer literal: {value}")
    return Expr(f"CAST({value} AS BIGINT)", INT64, constant=True, text=str(value))


@handles(exp.HexString)
def _hexadecimal(node: exp.Expr, _scope: Scope, _context: Context) -> Expr:
    return integer(int(node.name, 16) if not node.name.isdigit() else int(node.name))


@handles(exp.Boolean)
def _boolean(node: exp.Expr, _scope: Scope, _context: Context) -> Expr:
    return Expr("true" if node.this else "false", BOOL, constant=True)


@handles(exp.Null)
def _null(_node: exp.Expr, _scope: Scope, _context: Context) -> Expr:
    return Expr("NULL", NULL, constant=True)


@handles(exp.Paren)
def _paren(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    inner = translate(node.this, scope, context)
    return replace(inner, sql=f"({inner.sql})", name=None)


@handles(exp.Parameter)
def _parameter(node: exp.Expr, _scope: Scope, context: Context) -> Expr:
    only(node, "this")
    name = node.name
    if isinstance(node.this, exp.Parameter):
        raise unsupported(f"the system variable @@{node.this.name}")
    known = {key.lower(): value for key, value in context.parameters.items()}
    if name.lower() not in known:
        shown = "?" if name.startswith("_position_") else f"@{name}"
        raise invalid_query(f"Query parameter {shown} not found")
    return known[name.lower()]


@handles(exp.SessionParameter)
def _system_variable(node: exp.Expr, _scope: Scope, _context: Context) -> Expr:
    raise unsupported(f"the system variable @@{node.name}")


@handles(exp.Column)
def _column(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "table", "db", "catalog")
    names = [part.name for part in node.parts] if isinstance(node, exp.Column) else []
    return resolve(names, node, scope, context)


def resolve(names: Sequence[str], node: exp.Expr, scope: Scope, context: Context) -> Expr:
    """Find what a path of names means, from the innermost query outwards."""
    head, *rest = names
    for level in scope.levels():
        relation = level.relation(head) if rest else None
        if relation is not None and (column := relation.column(rest[0])) is not None:
            return replace(fields(column, rest[1:]), name=names[-1])
        if relation is not None and relation.value is None and level.column(head) is None:
            raise invalid_query(f"Name {rest[0]} not found inside {head}{position(node, context.line)}")
        found = level.meaning(head)
        if found is not None:
            return replace(fields(found, rest), name=names[-1])
    if head.lower() in context.variables:
        return fields(context.variables[head.lower()], rest)
    raise invalid_query(f"Unrecognized name: {head}{position(node, context.line)}")


def fields(expr: Expr, names: Sequence[str]) -> Expr:
    """Follow field names into STRUCT and JSON values."""
    for name in names:
        expr = _field(expr, name)
    return expr


def _field(expr: Expr, name: str) -> Expr:
    if expr.type == JSON:
        return json_step(expr, name)
    if expr.type.kind != "STRUCT":
        raise invalid_query(f"Cannot access field {name} on a value with type {expr.type}")
    for inner, field in zip(struct_field_names(expr.type), expr.type.fields, strict=True):
        if field.name.lower() == name.lower():
            return Expr(f"struct_extract({expr.sql}, {literal(inner)})", field.type, name=field.name)
    raise invalid_query(f"Field name {name} does not exist in {expr.type}")


def json_step(expr: Expr, step: str | int) -> Expr:
    """Go one step into a JSON value; steps in a row become one look into the document."""
    base, path = expr.json or (expr.sql, "$")
    path += jsonpath.duckdb([step])
    name = step if isinstance(step, str) else expr.name
    return Expr(f"json_extract({base}, {literal(path)})", JSON, json=(base, path), name=name)


@handles(exp.Dot)
def _dot(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    if isinstance(node.expression, exp.Anonymous):
        raise unsupported(f"the function {node.sql(dialect='bigquery')[:100]}")
    inner = translate(node.this, scope, context)
    return _field(inner, node.expression.name)


@handles(exp.Bracket)
def _bracket(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "expressions", "offset", "safe")
    value = translate(node.this, scope, context)
    place, base, safe = node.expressions[0], node.args.get("offset"), bool(node.args.get("safe"))
    if isinstance(place, exp.Anonymous) and str(place.this).upper() in _SUBSCRIPTS:
        base, safe = _SUBSCRIPTS[str(place.this).upper()]
        place = place.expressions[0]
    index = translate(place, scope, context)
    if value.type == JSON and base is None:
        return _json_subscript(value, index)
    if value.type.kind == "STRUCT":
        raise unsupported("subscripts of a STRUCT")
    if value.type.kind != "ARRAY" or index.type.kind not in {"INT64", "NULL"}:
        raise invalid_query(f"Subscript access [] is not supported for {value.type}[{index.type}]")
    macro = "bq_offset_or_null" if safe else "bq_offset"
    return Expr(f"{macro}({value.sql}, {index.sql if not base else f'({index.sql} - 1)'})", value.type.item)


def _json_subscript(value: Expr, index: Expr) -> Expr:
    if index.constant and index.text is not None:
        return json_step(value, int(index.text) if index.type == INT64 else index.text)
    if index.type == INT64:
        path = f"CASE WHEN {index.sql} >= 0 THEN '$[' || CAST({index.sql} AS VARCHAR) || ']' END"
        return Expr(f"json_extract({value.sql}, {path})", JSON)
    raise unsupported("a JSON subscript that is neither an integer nor a literal")


@handles(exp.Case)
def _case(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "ifs", "default")
    branches = [
        (translate(part.this, scope, context), translate(part.args["true"], scope, context))
        for part in node.args["ifs"]
    ]
    default = node.args.get("default")
    otherwise = (
        translate(default, scope, context) if default is not None else Expr("NULL", NULL, constant=True)
    )
    type_ = supertype([value for _, value in branches] + [otherwise], "CASE")
    subject = ""
    if node.this is not None:
        operand = translate(node.this, scope, context)
        common = supertype([operand, *(test for test, _ in branches)], "CASE")
        subject = coerce(operand, common).sql + " "
        branches = [(coerce(test, common), value) for test, value in branches]
    else:
        branches = [(boolean(test, "WHEN"), value) for test, value in branches]
    whens = " ".join(f"WHEN {test.sql} THEN {coerce(value, type_).sql}" for test, value in branches)
    return Expr(f"CASE {subject}{whens} ELSE {coerce(otherwise, type_).sql} END", type_)


@handles(exp.If)
def _if(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "true", "false")
    test = boolean(translate(node.this, scope, context), "IF condition")
    if node.args.get("false") is None:
        raise invalid_query("No matching signature for function IF: it takes three arguments")
    values = translate_all([node.args["true"], node.args["false"]], scope, context)
    type_ = supertype(values, "function IF")
    yes, no = (coerce(value, type_).sql for value in values)
    return Expr(f"CASE WHEN {test.sql} THEN {yes} ELSE {no} END", type_)


@handles(exp.Cast, exp.TryCast)
def _cast(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    only(node, "this", "to", "_type", "safe", "requires_string")
    target = type_of(node.args["to"])
    safe = isinstance(node, exp.TryCast)
    if isinstance(node.this, exp.Struct):
        return _typed_struct(node.this, target, scope, context)
    value = translate(node.this, scope, context)
    if target.kind == "STRUCT" and value.type.kind == "STRUCT":
        value = coerce(value, target) if len(value.type.fields) == len(target.fields) else value
    return replace(cast(value, target, safe=safe), name=None)


def _typed_struct(node: exp.Struct, target: Type, scope: Scope, context: Context) -> Expr:
    values = translate_all(node.expressions, scope, context)
    if len(values) != len(target.fields):
        raise invalid_query(
            f"STRUCT type has {len(target.fields)} fields but constructor call has {len(values)} fields"
        )
    names = struct_field_names(target)
    parts = (
        f"{quoted(name)} := {coerce(value, field.type).sql}"
        for name, value, field in zip(names, values, target.fields, strict=True)
    )
    return Expr(f"struct_pack({', '.join(parts)})", target)


@handles(exp.Array)
def _array(node: exp.Expr, scope: Scope, context: Context) -> Expr:
    values = translate_all(node.expressions, scope, context)
    type_ = supertype(values, "ARRAY") if values else NULL
    if type_.kind == "ARRAY":
        raise invalid_query("Cannot construct array with element type ARRAY")
    parts = ", ".join(coerce(value, type_).sql for value in values)
    return Expr(f"[{parts}]", array(type_), constant=all(value.constant for value in values))


def constant_text(expr: Expr, what: str) -> str:
    """Require a string that is known before the query runs."""
    if expr.type != STRING or expr.text is None:
        raise unsupported(f"{what} that is not a literal or a parameter")
    return expr.text
