"""Translate a FROM clause: tables, views, subqueries, UNNEST and joins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import (
    BOOL,
    INT64,
    NULL,
    duckdb_type,
    literal,
    quoted,
    struct_field_names,
)
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

from .casts import boolean, coerce, supertype
from .dialect import only, parse, plain_alias
from .expressions import translate
from .scope import Context, Expr, Query, Relation, Scope, TableSource

_MAX_VIEW_DEPTH = 16
TranslateQuery = Callable[[exp.Expr, "Scope | None", Context], Query]


@dataclass(frozen=True, slots=True)
class Source:
    """A FROM clause in DuckDB's text, the scope it makes, and conditions that belong into WHERE."""

    sql: str
    scope: Scope
    conditions: tuple[str, ...] = ()


def translate_from(
    first: exp.Expr, joins: Sequence[exp.Join], outer: Scope | None, context: Context, query: TranslateQuery
) -> Source:
    """Translate FROM and its joins, left to right."""
    builder = _Builder(context, query)
    scope = Scope(parent=outer)
    if isinstance(first, exp.Unnest):
        sql, relation = builder.first_unnest(first, scope)
    else:
        sql, relation = builder.item(first, scope)
    source = Source(sql, scope.joined(relation))
    for join in joins:
        source = builder.join(source, join)
    return source


@dataclass(frozen=True, slots=True)
class _Builder:
    context: Context
    query: TranslateQuery

    def item(self, node: exp.Expr, scope: Scope) -> tuple[str, Relation]:
        """Translate a table or a subquery."""
        if isinstance(node, exp.Table):
            return self._table(node)
        if isinstance(node, exp.Subquery):
            only(node, "this", "alias")
            plain_alias(node)
            if not isinstance(node.this, exp.Query):
                raise unsupported("a join in parentheses")
            return self._derived(self.query(node.this, scope.parent, self.context), node.alias or None)
        raise unsupported(f"{type(node).__name__.upper()} in FROM")

    def _derived(self, query: Query, alias: str | None) -> tuple[str, Relation]:
        inner = self.context.fresh("t")
        columns = tuple((o.name, Expr(f"{inner}.{o.inner}", o.type, name=o.name)) for o in query.outputs)
        return f"({query.sql}) AS {inner}", Relation(alias, columns)

    def _table(self, node: exp.Table) -> tuple[str, Relation]:
        only(node, "this", "db", "catalog", "alias")
        plain_alias(node)
        path = table_path(node)
        alias = node.alias or path[-1].split(".")[-1]
        cte = self.context.ctes.get(path[0].lower()) if len(path) == 1 else None
        if cte is not None:
            inner = self.context.fresh("t")
            columns = tuple((o.name, Expr(f"{inner}.{o.inner}", o.type, name=o.name)) for o in cte.outputs)
            return f"{cte.sql} AS {inner}", Relation(alias, columns)
        return self._stored(self.context.tables.source(path), alias)

    def _stored(self, table: TableSource, alias: str) -> tuple[str, Relation]:
        self.context.read.append(table.name)
        if table.view is not None:
            return self._derived(self._view(table), alias)
        inner = self.context.fresh("t")
        columns = tuple(
            (f.name, Expr(f"{inner}.{quoted(f.name)}", f.type, name=f.name)) for f in table.fields
        )
        return f"{table.storage or table.rows_sql} AS {inner}", Relation(alias, columns)

    def _view(self, table: TableSource) -> Query:
        if self.context.depth >= _MAX_VIEW_DEPTH:
            raise invalid_query(f"Views are nested too deeply at {table.name}")
        outside = self.context.ctes
        self.context.ctes = {}
        self.context.depth += 1
        try:
            return self.query(parse(table.view or ""), None, self.context)
        finally:
            self.context.ctes = outside
            self.context.depth -= 1

    def first_unnest(self, node: exp.Unnest, scope: Scope) -> tuple[str, Relation]:
        """UNNEST at the head of FROM; its array may come from a query around."""
        value, offset = self._unnest(node, scope)
        inner = self.context.fresh("t")
        sql = f"(SELECT _u.e AS e, _u.o - 1 AS o FROM unnest({value.sql}) WITH ORDINALITY AS _u(e, o)) AS {inner}"
        return sql, element_relation(node, value, f"{inner}.e", f"{inner}.o" if offset else None)

    def _unnest(self, node: exp.Unnest, scope: Scope) -> tuple[Expr, str | None]:
        only(node, "expressions", "alias", "offset", "_type")
        if len(node.expressions) != 1:
            raise unsupported("UNNEST of several arrays")
        value = translate(node.expressions[0], scope, self.context)
        if value.type.kind != "ARRAY":
            raise invalid_query(
                f"Values referenced in UNNEST must be arrays. UNNEST contains expression of type {value.type}"
            )
        if value.type.item == NULL:
            value = replace(
                value,
                sql=f"CAST({value.sql} AS {duckdb_type(INT64)}[])",
                type=replace(value.type, element=INT64),
            )
        offset = node.args.get("offset")
        return value, offset.name if isinstance(offset, exp.Identifier) else None

    def join(self, left: Source, node: exp.Join) -> Source:
        """Add one join to what stands on its left."""
        only(node, "this", "side", "kind", "on", "using", "method")
        side, kind = (node.side or "").upper(), (node.kind or "").upper()
        if node.method or kind not in {"", "INNER", "OUTER", "CROSS"}:
            raise unsupported(f"{node.method} {kind} JOIN")
        spread = _correlated(node.this, left.scope)
        if spread is not None:
            return self._join_unnest(left, node, spread, side)
        if left.conditions and side in {"RIGHT", "FULL"}:
            raise unsupported(f"{side} JOIN after a conditional join with UNNEST")
        sql, relation = self.item(node.this, left.scope)
        scope = left.scope.joined(relation)
        if kind == "CROSS" or (node.args.get("on") is None and not node.args.get("using")):
            if side or kind != "CROSS":
                raise invalid_query("A JOIN needs an ON or a USING clause")
            return replace(left, sql=f"{left.sql} CROSS JOIN {sql}", scope=scope)
        word = f"{side} JOIN" if side else "JOIN"
        if node.args.get("using"):
            condition, scope = self._using(left.scope, relation, scope, node, side)
        else:
            condition = boolean(translate(node.args["on"], scope, self.context), "JOIN ON clause").sql
        return replace(left, sql=f"{left.sql} {word} {sql} ON {condition}", scope=scope)

    def _using(
        self, left: Scope, right: Relation, scope: Scope, node: exp.Join, side: str
    ) -> tuple[str, Scope]:
        conditions, merged = [], list(scope.merged)
        for column in node.args["using"]:
            mine, theirs = left.find(column.name), right.column(column.name)
            if mine is None or theirs is None:
                raise invalid_query(f"Column {column.name} in USING clause not found on both sides of join")
            common = supertype([mine, theirs], "JOIN USING")
            a, b = coerce(mine, common).sql, coerce(theirs, common).sql
            conditions.append(f"{a} = {b}")
            kept = {"RIGHT": b, "FULL": f"coalesce({a}, {b})"}.get(side, a)
            merged = [(n, e) for n, e in merged if n.lower() != column.name.lower()]
            merged.append((column.name, Expr(kept, common, name=column.name)))
        return " AND ".join(conditions), replace(scope, merged=tuple(merged))

    def _join_unnest(self, left: Source, node: exp.Join, unnest: exp.Unnest, side: str) -> Source:
        """Spread an array beside what stands on its left.

        All columns so far move into one derived table that unnests in its SELECT list: DuckDB then streams, where a
        lateral join would first make the left side distinct.
        """
        if side in {"RIGHT", "FULL"} or node.args.get("using"):
            raise unsupported(f"{side or 'USING'} JOIN with UNNEST")
        value, offset = self._unnest(unnest, left.scope)
        inner = self.context.fresh("t")
        carried: list[str] = []
        scope = _moved(left.scope, inner, carried)
        array, places = value.sql, f"range(len({value.sql}))"
        if side == "LEFT":
            array = f"CASE WHEN len({value.sql}) > 0 THEN {value.sql} ELSE [NULL] END"
            places = f"CASE WHEN len({value.sql}) > 0 THEN {places} ELSE [NULL] END"
        spread = [*carried, f"unnest({array}) AS e", *([f"unnest({places}) AS o"] if offset else [])]
        where = f" WHERE {' AND '.join(left.conditions)}" if left.conditions else ""
        sql = f"(SELECT {', '.join(spread)} FROM {left.sql}{where}) AS {inner}"
        scope = scope.joined(element_relation(unnest, value, f"{inner}.e", f"{inner}.o" if offset else None))
        on = node.args.get("on")
        if on is None:
            return Source(sql, scope)
        condition = boolean(translate(on, scope, self.context), "JOIN ON clause")
        if side == "LEFT" and condition != Expr("true", BOOL, constant=True):
            raise unsupported("LEFT JOIN UNNEST with a condition")
        return Source(sql, scope, () if side == "LEFT" else (condition.sql,))


def _correlated(node: exp.Expr, scope: Scope) -> exp.Unnest | None:
    """Recognise an UNNEST on the right of a join, also one that is written as a path: FROM t, t.items."""
    if isinstance(node, exp.Unnest):
        return node
    if not isinstance(node, exp.Table) or any(
        node.args.get(part) for part in ("joins", "version", "sample", "pivots")
    ):
        return None
    path = table_path(node)
    if len(path) < 2 or scope.relation(path[0]) is None:
        return None
    array = exp.column(*(exp.to_identifier(part, quoted=True) for part in reversed(path)))
    label = exp.to_identifier(node.alias or path[-1], quoted=True)
    return exp.Unnest(expressions=[array], alias=exp.TableAlias(columns=[label]))


def element_relation(node: exp.Unnest, array: Expr, element: str, offset: str | None) -> Relation:
    """Make the relation of an UNNEST: the element by its alias, its fields as columns, the offset."""
    alias = node.args.get("alias")
    names = [c.name for c in alias.columns] if alias is not None else []
    label = (names[0] if names else alias.name if alias is not None else "") or None
    value = Expr(element, array.type.item, name=label)
    columns = []
    if value.type.kind == "STRUCT":
        for inner, field in zip(struct_field_names(value.type), value.type.fields, strict=True):
            sql = f"struct_extract({element}, {literal(inner)})"
            columns.append((field.name, Expr(sql, field.type, name=field.name)))
    given = node.args.get("offset")
    if offset is not None and isinstance(given, exp.Identifier):
        columns.append((given.name, Expr(offset, INT64, name=given.name)))
    return Relation(label, tuple(columns), value=value)


def _moved(scope: Scope, inner: str, carried: list[str]) -> Scope:
    """Move every column of a scope into a derived table; `carried` gets the select list that does it."""

    def move(expr: Expr) -> Expr:
        carried.append(f"{expr.sql} AS l{len(carried) + 1}")
        return replace(expr, sql=f"{inner}.l{len(carried)}", json=None)

    relations = []
    for relation in scope.relations:
        columns = tuple((name, move(expr)) for name, expr in relation.columns)
        value = move(relation.value) if relation.value is not None else None
        relations.append(Relation(relation.alias, columns, value))
    merged = tuple((name, move(expr)) for name, expr in scope.merged)
    return replace(scope, relations=tuple(relations), merged=merged)


def as_one(source: Source, context: Context) -> Source:
    """Make a FROM clause one item with a name of its own, as USING of a MERGE needs it."""
    inner = context.fresh("t")
    carried: list[str] = []
    scope = _moved(source.scope, inner, carried)
    where = f" WHERE {' AND '.join(source.conditions)}" if source.conditions else ""
    return Source(f"(SELECT {', '.join(carried)} FROM {source.sql}{where}) AS {inner}", scope)


def table_path(node: exp.Table) -> list[str]:
    """Read the name of a table as its parts, however it was quoted."""
    parts: list[str] = []
    for part in node.parts:
        parts += part.name.split(".") if isinstance(part, exp.Identifier) else [part.sql()]
    if not all(parts):
        raise invalid_query(f"Invalid table name: {'.'.join(parts)}")
    return parts
