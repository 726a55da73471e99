"""Run the statements of a query job, one after the other, in the transactions they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import duckdb
from sqlglot import exp

from .datatypes import NULL, Type, duckdb_type
from .ddl import Ddl, Done
from .errors import BigQueryError, invalid_query, unsupported
from .records import Table
from .session import Session, translated
from .sql import dml
from .sql.casts import boolean, coerce
from .sql.dialect import only, parse, type_of
from .sql.expressions import translate
from .sql.lexer import Statement
from .sql.relations import table_path
from .sql.scope import Context, Expr, Query, Scope
from .sql.translator import query
from .tables import JobTables

_BLOCKS = frozenset(
    {
        "IF",
        "LOOP",
        "WHILE",
        "REPEAT",
        "FOR",
        "CASE",
        "CALL",
        "EXECUTE",
        "RETURN",
        "BREAK",
        "CONTINUE",
        "LEAVE",
    }
)
SelectSink = Callable[[Query], Table | None]
ExportSink = Callable[[Query, Mapping[str, object]], None]


@dataclass(slots=True)
class Script:
    """The state of a running script: its variables, its tables, its transaction."""

    session: Session
    tables: JobTables
    parameters: Mapping[str, Expr]
    select: SelectSink
    export: ExportSink
    dry_run: bool = False
    _variables: dict[str, Expr] = field(default_factory=dict)

    def run(self, statement: Statement) -> Done:
        """Run one statement; a failure inside a transaction undoes all of the transaction."""
        try:
            return self._run(statement)
        except BigQueryError:
            self.session.rollback()
            raise
        except duckdb.Error as error:
            self.session.rollback()
            raise translated(error) from error

    def _run(self, statement: Statement) -> Done:
        words = statement.words
        first = words[0] if words else ""
        if first in {"BEGIN", "COMMIT", "ROLLBACK"}:
            return self._transaction(words)
        if first in _BLOCKS or first == "END":
            raise unsupported(f"the scripting statement {first}")
        context = Context(self.tables, self.parameters, dict(self._variables), statement.line)
        if first == "ASSERT":
            return self._assert(statement, context)
        if first == "RAISE":
            return self._raise(statement, context)
        return self._parsed(parse(statement.text, line=statement.line), statement, context)

    def _parsed(self, node: exp.Expr, statement: Statement, context: Context) -> Done:
        if isinstance(node, exp.Query):
            return Done("SELECT", self.select(query(node, None, context)))
        if isinstance(node, exp.Insert | exp.Update | exp.Delete | exp.Merge):
            return self._change(node, context)
        if isinstance(node, exp.TruncateTable):
            return self._truncate(node)
        if isinstance(node, exp.Create | exp.Drop | exp.Alter):
            return self._define(node, statement, context)
        others: Mapping[type[exp.Expr], Callable[[exp.Expr, Context], Done]] = {
            exp.Declare: self._declare,
            exp.Set: self._set,
            exp.Export: self._export,
        }
        handler = others.get(type(node))
        if handler is None:
            raise unsupported(f"this statement: {statement.source[:100]}")
        return handler(node, context)

    def _define(
        self, node: exp.Create | exp.Drop | exp.Alter, statement: Statement, context: Context
    ) -> Done:
        if self.dry_run:
            return Done(type(node).__name__.upper())

        def value(part: exp.Expr) -> object:
            return self._value(part, context)

        ddl = Ddl(self.session, self.tables, context, query, value, statement.source)
        if isinstance(node, exp.Create):
            return ddl.create(node)
        return ddl.drop(node) if isinstance(node, exp.Drop) else ddl.alter(node)

    # Transactions

    def _transaction(self, words: list[str]) -> Done:
        if words[1:] not in ([], ["TRANSACTION"]):
            raise unsupported("BEGIN ... END blocks")
        if self.dry_run:
            return Done(f"{words[0]}_TRANSACTION")
        if words[0] == "BEGIN":
            if self.session.in_transaction:
                raise invalid_query("Nested transactions are not supported")
            self.session.begin()
        elif not self.session.in_transaction:
            raise invalid_query(f"{words[0]} TRANSACTION without an open transaction")
        elif words[0] == "COMMIT":
            self.session.commit()
        else:
            self.session.rollback()
        return Done(f"{words[0]}_TRANSACTION")

    # Rows

    def _target(self, node: exp.Table) -> tuple[Table, dml.Target]:
        table = self.tables.table(table_path(node))
        if table.storage is None:
            raise invalid_query(f"{table.full_name} is a view and cannot be modified")
        self.tables.referenced[table.full_name] = table
        return table, dml.Target(table.storage, table.fields, table.full_name)

    def _change(self, node: exp.Insert | exp.Update | exp.Delete | exp.Merge, context: Context) -> Done:
        place = node.this if node.this else node.args["tables"][0]
        table, target = self._target(place.this if isinstance(place, exp.Schema) else place)
        kind = type(node).__name__.upper()
        if isinstance(node, exp.Insert):
            change = dml.insert(node, target, context)
        elif isinstance(node, exp.Update):
            change = dml.update(node, target, context)
        elif isinstance(node, exp.Delete):
            change = dml.delete(node, target, context)
        else:
            change = dml.merge(node, target, context)
        if self.dry_run:
            return Done(kind, table)
        with self.session.transaction() as catalog:
            counts = self._counted(kind, change)
            table = catalog.touch(table)
        inserted, updated, deleted = (counts.get(action, 0) for action in ("INSERT", "UPDATE", "DELETE"))
        return Done(kind, table, inserted, updated, deleted, changes_rows=True)

    def _counted(self, kind: str, change: dml.Change) -> dict[str, int]:
        """Run a change; returns how many rows were touched by which action."""
        if not change.merges:
            return {kind: self.session.count(change.sql)}
        counts: dict[str, int] = {}
        answer = self.session.execute(change.sql)
        while rows := answer.fetchmany(10_000):
            for (action,) in rows:
                counts[action] = counts.get(action, 0) + 1
        return counts

    def _truncate(self, node: exp.TruncateTable) -> Done:
        only(node, "expressions")
        table, target = self._target(node.expressions[0])
        if self.dry_run:
            return Done("TRUNCATE_TABLE", table)
        with self.session.transaction() as catalog:
            deleted = self.session.count(f"DELETE FROM {target.storage}")
            table = catalog.touch(table)
        return Done("TRUNCATE_TABLE", table, deleted=deleted, changes_rows=True)

    # Values

    def _value(self, node: exp.Expr, context: Context) -> object:
        """Compute a constant."""
        value = translate(node, Scope(), context)
        sql = f"epoch_us({value.sql})" if value.type.kind == "TIMESTAMP" else value.sql
        row = self.session.execute(f"SELECT {sql}").fetchone()
        return row[0] if row else None

    def _declare(self, node: exp.Expr, context: Context) -> Done:
        only(node, "expressions")
        for item in node.expressions:
            only(item, "this", "kind", "default")
            kind = item.args.get("kind")
            default = item.args.get("default")
            value = translate(default, Scope(), context) if default else Expr("NULL", NULL, constant=True)
            type_ = type_of(kind) if isinstance(kind, exp.DataType) else value.type
            for name in item.this if isinstance(item.this, list) else [item.this]:
                if name.name.lower() in self._variables:
                    raise invalid_query(f"Variable '{name.name}' redeclared")
                self._keep(name.name.lower(), coerce(value, type_), type_)
                context.variables = dict(self._variables)
        return Done("DECLARE")

    def _set(self, node: exp.Expr, context: Context) -> Done:
        for item in node.expressions:
            pair = item.this
            name = (
                pair.this.name.lower()
                if isinstance(pair, exp.EQ) and isinstance(pair.this, exp.Column)
                else ""
            )
            if name not in self._variables:
                raise invalid_query(f"Undeclared variable: {name or item.sql()}")
            type_ = self._variables[name].type
            self._keep(name, coerce(translate(pair.expression, Scope(), context), type_), type_)
        return Done("SET")

    def _keep(self, name: str, value: Expr, type_: Type) -> None:
        """Keep a variable's value in a temporary table of the cursor: any type fits, no spelling is needed."""
        table = f"_variable_{name.encode().hex()}"
        kept = f"CAST({value.sql} AS {duckdb_type(type_)})"
        self.session.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {kept} AS v")
        self._variables[name] = Expr(f"(SELECT v FROM temp.main.{table})", type_)

    # The rest

    def _assert(self, statement: Statement, context: Context) -> Done:
        select = parse("SELECT " + statement.text[len("ASSERT") :], line=statement.line)
        part = select.expressions[0]
        message = part.alias if isinstance(part, exp.Alias) else "Assertion failed"
        condition = boolean(
            translate(part.this if isinstance(part, exp.Alias) else part, Scope(), context), "ASSERT"
        )
        if self.dry_run:
            return Done("ASSERT")
        row = self.session.execute(f"SELECT {condition.sql}").fetchone()
        if row is None or row[0] is not True:
            raise invalid_query(message)
        return Done("ASSERT")

    def _raise(self, statement: Statement, context: Context) -> Done:
        text = statement.text[len("RAISE") :].strip()
        parts = text.split("=", 1)
        if parts[0].upper().split() != ["USING", "MESSAGE"] or len(parts) != 2:
            raise unsupported("RAISE without a message")
        value = parse(f"SELECT {parts[1]}", line=statement.line).expressions[0]
        raise invalid_query(str(self._value(value, context)))

    def _export(self, node: exp.Expr, context: Context) -> Done:
        only(node, "this", "options")
        options: dict[str, object] = {}
        for part in node.args["options"].expressions:
            if isinstance(part, exp.FileFormatProperty):
                options["format"] = part.this.name
            elif isinstance(part, exp.Property):
                options[part.name.lower()] = self._value(part.args["value"], context)
            else:
                raise unsupported(f"the option {part.sql(dialect='bigquery')} of EXPORT DATA")
        found = query(node.this, None, context)
        if not self.dry_run:
            self.export(found, options)
        return Done("EXPORT_DATA")


def names_table(text: str) -> list[str] | None:
    """Find the first table with a dataset that a statement names; None when there is none to be seen."""
    try:
        node = parse(text)
    except BigQueryError:
        return None
    for table in node.find_all(exp.Table):
        path = table_path(table) if table.name else []
        if len(path) > 1:
            return path
    return None
