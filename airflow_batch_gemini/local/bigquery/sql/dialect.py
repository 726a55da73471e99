"""sqlglot as a parser of GoogleSQL and nothing more: function calls come back as they were written."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar, TypeVar

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import SqlglotError
from sqlglot.parsers.bigquery import BigQueryParser

from airflow_batch_gemini.local.bigquery.datatypes import (
    BOOL,
    BYTES,
    DATE,
    DATETIME,
    FLOAT64,
    INT64,
    INTERVAL,
    JSON,
    NUMERIC,
    STRING,
    TIME,
    TIMESTAMP,
    Field,
    Type,
    array,
    struct,
)
from airflow_batch_gemini.local.bigquery.errors import invalid_query, unsupported

_Node = TypeVar("_Node", bound=exp.Expr)
_KEPT = ("CAST", "SAFE_CAST", "EXTRACT")
_SCALARS = {
    exp.DType.TEXT: STRING,
    exp.DType.VARCHAR: STRING,
    exp.DType.BINARY: BYTES,
    exp.DType.VARBINARY: BYTES,
    exp.DType.BIGINT: INT64,
    exp.DType.INT: INT64,
    exp.DType.SMALLINT: INT64,
    exp.DType.TINYINT: INT64,
    exp.DType.DOUBLE: FLOAT64,
    exp.DType.DECIMAL: NUMERIC,
    exp.DType.BOOLEAN: BOOL,
    exp.DType.DATE: DATE,
    exp.DType.TIME: TIME,
    exp.DType.DATETIME: DATETIME,
    exp.DType.TIMESTAMP: DATETIME,
    exp.DType.TIMESTAMPTZ: TIMESTAMP,
    exp.DType.JSON: JSON,
    exp.DType.INTERVAL: INTERVAL,
}


class _Parser(BigQueryParser):
    """Keeps every call as a name with arguments; only the calls with a grammar of their own are parsed."""

    FUNCTIONS: ClassVar = {}
    FUNCTION_PARSERS: ClassVar = {name: BigQueryParser.FUNCTION_PARSERS[name] for name in _KEPT}

    def _parse_create(self) -> exp.Create | exp.Command:
        """Read the OPTIONS behind the table to clone as if they stood before it, where sqlglot knows them."""
        words = [token.text.upper() for token in self._tokens]
        if "CLONE" in words[self._index :]:
            clone = words.index("CLONE", self._index)
            if "OPTIONS" in words[clone:]:
                options = words.index("OPTIONS", clone)
                self._tokens[clone:] = [*self._tokens[options:], *self._tokens[clone:options]]
        return super()._parse_create()

    def _implicit_unnests_to_explicit(self, this: _Node) -> _Node:
        """Look for `FROM t, t.array` only where there can be one: sqlglot copies all of FROM to look for it."""
        joins = this.args.get("joins") or []
        if any(isinstance(join.this, exp.Table) and len(join.this.parts) > 1 for join in joins):
            return super()._implicit_unnests_to_explicit(this)
        return this


class GoogleSQL(BigQuery):
    """BigQuery's grammar without sqlglot's reading of what functions mean."""

    Parser = _Parser


_parsing: ContextVar[bool] = ContextVar("parsing", default=False)


def _tells(record: logging.LogRecord) -> bool:
    """Keep sqlglot from warning about what is refused with an error anyway."""
    return record.levelno >= logging.ERROR or not _parsing.get()


# Not the level of the logger: to set it makes every logger of the process forget what it knows, twice a statement.
logging.getLogger("sqlglot").addFilter(_tells)


@contextmanager
def _quiet() -> Iterator[None]:
    before = _parsing.set(True)
    try:
        yield
    finally:
        _parsing.reset(before)


def parse(text: str, *, line: int = 1) -> exp.Expr:
    """Parse one statement whose literals are plain; raises BigQuery's syntax error."""
    try:
        with _quiet():
            parsed = GoogleSQL().parse(text)
    except SqlglotError as error:
        raise invalid_query(f"Syntax error: {_first_line(str(error), line)}") from error
    if len(parsed) != 1 or parsed[0] is None:
        raise invalid_query("Syntax error: expected one statement")
    return parsed[0]


def _first_line(message: str, line: int) -> str:
    def moved(found: re.Match[str]) -> str:
        return f" at [{int(found[1]) + line - 1}:{found[2]}]"

    plain = re.sub(r"\x1b\[\d*m", "", message).splitlines()[0]
    return re.sub(r"\.? Line (\d+), Col: (\d+)\.?", moved, plain)


def parse_type(text: str) -> Type:
    """Parse a type as GoogleSQL writes it, such as ARRAY<STRUCT<a INT64>>."""
    cast = parse(f"SELECT CAST(NULL AS {text})").find(exp.Cast)
    if cast is None:
        raise invalid_query(f"Invalid type: {text}")
    return type_of(cast.to)


def type_of(node: exp.DataType) -> Type:
    """Read a parsed type; raises for a type that has no home here."""
    kind = node.this
    if kind == exp.DType.ARRAY and node.expressions:
        return array(type_of(node.expressions[0]))
    if kind == exp.DType.STRUCT:
        return struct([_struct_field(part) for part in node.expressions])
    if kind not in _SCALARS:
        raise unsupported(f"the type {node.sql(dialect='bigquery')}")
    if node.expressions:
        raise unsupported(f"the parameterised type {node.sql(dialect='bigquery')}")
    return _SCALARS[kind]


def _struct_field(node: exp.Expr) -> Field:
    if isinstance(node, exp.ColumnDef) and isinstance(node.kind, exp.DataType):
        return Field(node.name, type_of(node.kind), description=_description(node))
    if isinstance(node, exp.DataType):
        return Field("", type_of(node))
    raise unsupported(f"the struct field {node.sql(dialect='bigquery')}")


def _description(node: exp.ColumnDef) -> str | None:
    """Read what OPTIONS say of a field inside a STRUCT."""
    only(node, "this", "kind", "constraints")
    for constraint in node.args.get("constraints") or []:
        options = constraint.kind.expressions if isinstance(constraint.kind, exp.Properties) else [constraint]
        for option in options:
            value = option.args.get("value")
            if option.name.lower() != "description" or not isinstance(value, exp.Literal):
                raise unsupported(f"{constraint.sql(dialect='bigquery')} of the struct field {node.name}")
            return str(value.name)
    return None


def only(node: exp.Expr, *known: str) -> None:
    """Refuse a node that carries a clause the caller does not read: nothing is dropped in silence."""
    for name, value in node.args.items():
        if name not in known and value not in (None, False, [], ""):
            raise unsupported(f"{name.strip('_').upper().replace('_', ' ')} in {type(node).__name__.upper()}")


def plain_alias(node: exp.Expr) -> None:
    """Refuse an alias that renames columns too, as in AS t (a, b)."""
    alias = node.args.get("alias")
    if isinstance(alias, exp.TableAlias) and alias.columns:
        raise unsupported("a column list in an alias")


def position(node: exp.Expr, line: int) -> str:
    """Say where a name stands, as BigQuery does in its messages."""
    for part in node.walk():
        if "line" in part.meta:
            return f" at [{part.meta['line'] + line - 1}:{part.meta['col'] - len(part.name) + 1}]"
    return ""
