"""The translator with an empty database behind it: one query in, plain values out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from airflow_batch_gemini.local.bigquery import functions, macros
from airflow_batch_gemini.local.bigquery.datatypes import Type
from airflow_batch_gemini.local.bigquery.errors import not_found
from airflow_batch_gemini.local.bigquery.session import translated
from airflow_batch_gemini.local.bigquery.sql.dialect import parse
from airflow_batch_gemini.local.bigquery.sql.lexer import statements
from airflow_batch_gemini.local.bigquery.sql.scope import Context, Expr, Query, TableSource
from airflow_batch_gemini.local.bigquery.sql.translator import query
from airflow_batch_gemini.local.bigquery.values import wire_sql


class _NoTables:
    def source(self, path: Sequence[str]) -> TableSource:
        raise not_found("Table", ".".join(path))


class Engine:
    """Evaluates queries that name no table."""

    def __init__(self) -> None:
        self._db = duckdb.connect()
        self._db.execute("SET TimeZone = 'UTC'")
        functions.register(self._db)
        for statement in macros.statements():
            self._db.execute(statement)

    def close(self) -> None:
        self._db.close()

    def translate(self, sql: str, parameters: dict[str, Expr] | None = None) -> Query:
        parts = statements(sql)
        assert len(parts) == 1, sql
        return query(parse(parts[0].text), None, Context(_NoTables(), parameters or {}))

    def types(self, sql: str) -> list[str]:
        return [str(output.type) for output in self.translate(sql).outputs]

    def names(self, sql: str) -> list[str]:
        return [output.name for output in self.translate(sql).outputs]

    def rows(self, sql: str, parameters: dict[str, Expr] | None = None) -> list[list[Any]]:
        """Evaluate; dates are text, points in time microseconds, NUMERIC text, BYTES base64, JSON its text."""
        found = self.translate(sql, parameters)
        columns = ", ".join(wire_sql(f"_q.{o.inner}", o.type) for o in found.outputs)
        try:
            answer = self._db.execute(f"SELECT {columns} FROM ({found.sql}) AS _q").fetchall()
        except duckdb.Error as error:
            raise translated(error) from error
        types = [output.type for output in found.outputs]
        return [[_plain(value, type_) for value, type_ in zip(row, types, strict=True)] for row in answer]

    def value(self, expression: str, parameters: dict[str, Expr] | None = None) -> Any:
        """Evaluate one expression."""
        return self.rows(f"SELECT {expression}", parameters)[0][0]


def _plain(value: Any, type_: Type) -> Any:
    if type_.kind == "ARRAY":
        return None if value is None else [_plain(item, type_.item) for item in value]
    if value is None:
        return None
    if type_.kind == "STRUCT":
        return [_plain(part, field.type) for part, field in zip(value.values(), type_.fields, strict=True)]
    if type_.kind == "FLOAT64":
        return repr(value)
    return value
