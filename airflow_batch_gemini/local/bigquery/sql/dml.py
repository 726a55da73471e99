"""Translate INSERT, UPDATE, DELETE, MERGE and TRUNCATE into statements on the table that holds the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import Field, literal, quoted
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from .casts import assign, boolean
from .dialect import only, position
from .expressions import translate
from .relations import Source, as_one, translate_from
from .scope import Context, Expr, Output, Relation, Scope
from .select import query


@dataclass(frozen=True, slots=True)
class Target:
    """The table that a statement changes."""

    storage: str
    fields: tuple[Field, ...]
    name: str

    def field(self, name: str) -> Field:
        """Find a column; raises BigQuery's error."""
        for field in self.fields:
            if field.name.lower() == name.lower():
                return field
        raise invalid_query(f"Column {name} is not present in table {self.name}")

    def relation(self, alias: str, inner: str) -> Relation:
        """The table as the statement's expressions see it."""
        columns = tuple((f.name, Expr(f"{inner}.{quoted(f.name)}", f.type, name=f.name)) for f in self.fields)
        return Relation(alias, columns)


@dataclass(frozen=True, slots=True)
class Change:
    """A translated statement; `merges` says that it answers with one action per row instead of a count."""

    sql: str
    merges: bool = False


def written(value: Expr, field: Field) -> str:
    """Render a value as a column takes it."""
    sql = assign(value, field.type, column=f"column {field.name}").sql
    if field.type.kind == "ARRAY":
        message = f"Array cannot have a null element; error in writing field {field.name}"
        sql = f"bq_array_out({sql}, {literal(message)})"
    return sql


def _alias(node: exp.Expr) -> str:
    return node.alias or node.name.split(".")[-1]


def insert(node: exp.Insert, target: Target, context: Context) -> Change:
    """Translate INSERT ... VALUES and INSERT ... SELECT."""
    only(node, "this", "expression", "is_function")
    names = [part.name for part in node.this.expressions] if isinstance(node.this, exp.Schema) else []
    fields = [target.field(name) for name in names] or list(target.fields)
    if len({field.name for field in fields}) != len(fields):
        raise invalid_query("INSERT has duplicate columns in its column list")
    columns = ", ".join(quoted(field.name) for field in fields)
    if isinstance(node.expression, exp.Values):
        rows = [_values_row(row, fields, context) for row in node.expression.expressions]
        return Change(f"INSERT INTO {target.storage} ({columns}) VALUES {', '.join(rows)}")
    found = query(node.expression, None, context)
    if len(found.outputs) != len(fields):
        raise invalid_query(
            f"Inserted row has wrong column count; Has {len(found.outputs)}, expected {len(fields)}"
        )
    inner = context.fresh("t")
    values = ", ".join(written(_output(o, inner), f) for o, f in zip(found.outputs, fields, strict=True))
    return Change(f"INSERT INTO {target.storage} ({columns}) SELECT {values} FROM ({found.sql}) AS {inner}")


def _output(output: Output, inner: str) -> Expr:
    return Expr(f"{inner}.{output.inner}", output.type, constant=output.type.kind == "NULL")


def _is_default(node: exp.Expr) -> bool:
    return isinstance(node, exp.Var) and node.name.upper() == "DEFAULT"


def _values_row(row: exp.Expr, fields: Sequence[Field], context: Context) -> str:
    parts = (
        row.expressions if isinstance(row, exp.Tuple) else [row.this if isinstance(row, exp.Paren) else row]
    )
    if len(parts) != len(fields):
        raise invalid_query(f"Inserted row has wrong column count; Has {len(parts)}, expected {len(fields)}")
    values = [
        "DEFAULT" if _is_default(part) else written(translate(part, Scope(), context), field)
        for part, field in zip(parts, fields, strict=True)
    ]
    return f"({', '.join(values)})"


def delete(node: exp.Delete, target: Target, context: Context) -> Change:
    """Translate DELETE; without WHERE it is refused, as in BigQuery."""
    only(node, "this", "where", "tables")
    table = node.this or node.args["tables"][0]
    where = node.args.get("where")
    if where is None:
        raise invalid_query(f"DELETE must have a WHERE clause{position(table, context.line)}")
    inner = context.fresh("t")
    scope = Scope((target.relation(_alias(table), inner),))
    condition = boolean(translate(where.this, scope, context), "WHERE clause")
    return Change(f"DELETE FROM {target.storage} AS {inner} WHERE {condition.sql}")


def update(node: exp.Update, target: Target, context: Context) -> Change:
    """Translate UPDATE; with FROM it becomes a MERGE, which refuses to change a row twice."""
    only(node, "this", "expressions", "from_", "where")
    where = node.args.get("where")
    if where is None:
        raise invalid_query(f"UPDATE must have a WHERE clause{position(node.this, context.line)}")
    inner = context.fresh("t")
    scope = Scope((target.relation(_alias(node.this), inner),))
    if node.args.get("from_") is None:
        condition = boolean(translate(where.this, scope, context), "WHERE clause")
        sets = _assignments(node.expressions, target, scope, context)
        return Change(f"UPDATE {target.storage} AS {inner} SET {sets} WHERE {condition.sql}")
    source = _source(node.args["from_"].this, context)
    for relation in source.scope.relations:
        scope = scope.joined(relation)
    condition = boolean(translate(where.this, scope, context), "WHERE clause")
    sets = _assignments(node.expressions, target, scope, context)
    return Change(
        f"MERGE INTO {target.storage} AS {inner} USING {source.sql} ON {condition.sql} "
        f"WHEN MATCHED THEN UPDATE SET {sets} RETURNING merge_action",
        merges=True,
    )


def _source(first: exp.Expr, context: Context) -> Source:
    joins = list(first.args.get("joins") or [])
    first = first.copy()
    first.set("joins", None)
    return as_one(translate_from(first, joins, None, context, query), context)


def _assignments(nodes: Sequence[exp.Expr], target: Target, scope: Scope, context: Context) -> str:
    sets, seen = [], set[str]()
    for node in nodes:
        if not isinstance(node, exp.EQ) or not isinstance(node.this, exp.Column):
            raise invalid_query(f"Invalid assignment: {node.sql(dialect='bigquery')}")
        parts = [part.name for part in node.this.parts]
        aliases = {r.alias.lower() for r in scope.relations[:1] if r.alias}
        if len(parts) == 2 and parts[0].lower() in aliases:
            parts = parts[1:]
        if len(parts) != 1:
            raise unsupported("the assignment to a field inside a STRUCT")
        field = target.field(parts[0])
        if field.name in seen:
            raise invalid_query(f"Update item {field.name} assigned more than once")
        seen.add(field.name)
        if _is_default(node.expression):
            sets.append(f"{quoted(field.name)} = DEFAULT")
        else:
            sets.append(
                f"{quoted(field.name)} = {written(translate(node.expression, scope, context), field)}"
            )
    return ", ".join(sets)


def merge(node: exp.Merge, target: Target, context: Context) -> Change:
    """Translate MERGE; the engine refuses a target row that several source rows would change."""
    only(node, "this", "using", "on", "whens")
    inner = context.fresh("t")
    mine = Scope((target.relation(_alias(node.this), inner),))
    source = _source(node.args["using"], context)
    both = mine
    for relation in source.scope.relations:
        both = both.joined(relation)
    condition = boolean(translate(node.args["on"], both, context), "MERGE ON clause")
    clauses = [
        _when(when, target, {"both": both, "target": mine, "source": source.scope}, context)
        for when in node.args["whens"].expressions
    ]
    return Change(
        f"MERGE INTO {target.storage} AS {inner} USING {source.sql} ON {condition.sql} "
        f"{' '.join(clauses)} RETURNING merge_action",
        merges=True,
    )


def _when(when: exp.When, target: Target, scopes: Mapping[str, Scope], context: Context) -> str:
    only(when, "matched", "source", "condition", "then")
    matched, by_source = bool(when.args.get("matched")), bool(when.args.get("source"))
    scope = scopes["both"] if matched else scopes["target"] if by_source else scopes["source"]
    head = "WHEN MATCHED" if matched else f"WHEN NOT MATCHED BY {'SOURCE' if by_source else 'TARGET'}"
    if when.args.get("condition") is not None:
        head += f" AND {boolean(translate(when.args['condition'], scope, context), 'WHEN clause').sql}"
    then = when.args["then"]
    if isinstance(then, exp.Var) and then.name.upper() == "DELETE":
        return f"{head} THEN DELETE"
    if isinstance(then, exp.Update):
        only(then, "expressions")
        return f"{head} THEN UPDATE SET {_assignments(then.expressions, target, scope, context)}"
    if isinstance(then, exp.Insert) and not matched and not by_source:
        return f"{head} THEN {_merge_insert(then, target, scope, context)}"
    raise invalid_query(f"MERGE cannot do this in {head}")


def _merge_insert(then: exp.Insert, target: Target, scope: Scope, context: Context) -> str:
    only(then, "this", "expression")
    if (isinstance(then.this, exp.Var) and then.this.name.upper() == "ROW") or then.expression is None:
        pairs = [pair for relation in scope.relations for pair in relation.columns]
        fields, values = list(target.fields), [expr for _, expr in pairs]
    else:
        named = then.this.expressions if then.this is not None else []
        fields = [target.field(part.name) for part in named] or list(target.fields)
        parts = then.expression.expressions
        if any(_is_default(part) for part in parts):
            raise unsupported("DEFAULT in the INSERT of a MERGE")
        values = [translate(part, scope, context) for part in parts]
    if len(values) != len(fields):
        raise invalid_query(f"Inserted row has wrong column count; Has {len(values)}, expected {len(fields)}")
    columns = ", ".join(quoted(field.name) for field in fields)
    texts = ", ".join(written(value, field) for value, field in zip(values, fields, strict=True))
    return f"INSERT ({columns}) VALUES ({texts})"
