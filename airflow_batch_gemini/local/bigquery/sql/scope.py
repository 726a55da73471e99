"""What a name can mean at one place of a statement, and what an expression is once it is translated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from sqlglot import exp

from airflow_batch_gemini.local.bigquery.datatypes import Field, Type, literal, quoted, struct
from airflow_batch_gemini.local.bigquery.errors import invalid_query


@dataclass(frozen=True, slots=True)
class Expr:
    """A translated expression: DuckDB's text, BigQuery's type.

    `constant` marks literals and parameters, which coerce further than columns do. `text` is the value of a
    constant string. `name` is the column name the expression lends to an output. `json` is the document and the
    path of a JSON field access (or of an array taken from JSON), so that a chain of accesses becomes one look into the
    document.
    """

    sql: str
    type: Type
    constant: bool = False
    text: str | None = None
    name: str | None = None
    json: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """A column that a query gives: the name the user sees, the name inside DuckDB, the type."""

    name: str
    inner: str
    type: Type


@dataclass(frozen=True, slots=True)
class Query:
    """A translated query: its outputs are named `c1`, `c2`, ... inside, whatever the user calls them."""

    sql: str
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """One item of a FROM clause; `value` is set when the alias itself is a value (an element of UNNEST)."""

    alias: str | None
    columns: tuple[tuple[str, Expr], ...]
    value: Expr | None = None

    def column(self, name: str) -> Expr | None:
        """Find a column whatever its case; raises when two have the name."""
        found = [expr for label, expr in self.columns if label.lower() == name.lower()]
        if len(found) > 1:
            raise invalid_query(f"Column name {name} is ambiguous")
        return found[0] if found else None

    def row(self) -> Expr:
        """The whole row as one value."""
        if self.value is not None:
            return self.value
        fields = [Field(label, expr.type) for label, expr in self.columns]
        parts = (f"{quoted(label)} := {expr.sql}" for label, expr in self.columns)
        return Expr(f"struct_pack({', '.join(parts)})", struct(fields), name=self.alias)


@dataclass(frozen=True, slots=True)
class Scope:
    """The relations of one SELECT, inside those of the queries around it.

    `merged` holds the columns that USING made one. `aliases` holds select-list expressions for the clauses that may
    name them (HAVING, QUALIFY, ORDER BY).
    """

    relations: tuple[Relation, ...] = ()
    parent: Scope | None = None
    merged: tuple[tuple[str, Expr], ...] = ()
    aliases: Mapping[str, Expr] = field(default_factory=dict)
    windows: Mapping[str, str] = field(default_factory=dict)

    def joined(self, relation: Relation) -> Scope:
        """Add a relation; an alias may stand only once."""
        names = [r.alias.lower() for r in self.relations if r.alias]
        if relation.alias and relation.alias.lower() in names:
            raise invalid_query(f"Duplicate table alias {relation.alias} in the same FROM clause")
        return replace(self, relations=(*self.relations, relation))

    def levels(self) -> Iterator[Scope]:
        """This scope and those around it, from the inside out."""
        level: Scope | None = self
        while level is not None:
            yield level
            level = level.parent

    def column(self, name: str) -> Expr | None:
        """Find a column by its name alone, without looking further out."""
        lowered = name.lower()
        for label, expr in self.merged:
            if label.lower() == lowered:
                return expr
        found = [column for r in self.relations if (column := r.column(name)) is not None]
        if len(found) > 1:
            raise invalid_query(f"Column name {name} is ambiguous")
        return found[0] if found else None

    def find(self, name: str) -> Expr | None:
        """Find a column or a whole row by a single name, without looking further out."""
        column = self.column(name)
        relation = self.relation(name)
        if relation is not None and (relation.value is not None or column is None):
            return relation.row()
        return column

    def meaning(self, name: str) -> Expr | None:
        """Find what a single name means here: a column, a row, or an item of the select list."""
        return self.aliases.get(name.lower()) or self.find(name)

    def relation(self, alias: str) -> Relation | None:
        """Find a relation by its alias, without looking further out."""
        return next((r for r in self.relations if r.alias and r.alias.lower() == alias.lower()), None)


@dataclass(frozen=True, slots=True)
class TableSource:
    """A table as a statement may read it: the name in DuckDB, or the text of a view."""

    name: str
    fields: tuple[Field, ...]
    storage: str | None = None
    view: str | None = None
    rows_sql: str | None = None


class Tables(Protocol):
    """Where a statement looks up the tables it names."""

    def source(self, path: Sequence[str]) -> TableSource:
        """Return the table that a path of one to three names means; raises "Not found"."""


@dataclass(slots=True)
class Context:
    """What holds for a whole statement: the tables, the parameters, the script's variables, fresh names."""

    tables: Tables
    parameters: Mapping[str, Expr] = field(default_factory=dict)
    variables: Mapping[str, Expr] = field(default_factory=dict)
    line: int = 1
    ctes: dict[str, Query] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    depth: int = 0
    _numbers: dict[str, int] = field(default_factory=dict)

    def fresh(self, prefix: str) -> str:
        """Make a name that nothing else in the statement has."""
        self._numbers[prefix] = self._numbers.get(prefix, 0) + 1
        return f"_{prefix}{self._numbers[prefix]}"


def string(text: str) -> Expr:
    """Make a string literal."""
    return Expr(literal(text), Type("STRING"), constant=True, text=text)


def ordering(part: exp.Expr) -> str:
    """Say direction and place of NULLs: in GoogleSQL they are smaller than everything."""
    direction = "DESC" if part.args.get("desc") else "ASC"
    return f"{direction} NULLS {'FIRST' if part.args.get('nulls_first') else 'LAST'}"
