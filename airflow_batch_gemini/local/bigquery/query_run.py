"""Run a query job: its statements in order, and where the rows of a SELECT go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_batch_gemini.local.storage.store import Storage

from . import export as exporting
from .buckets import check_bucket
from .datatypes import Field, fields_to_rest, quoted
from .ddl import Done
from .errors import BigQueryError, invalid_query, unsupported
from .outcome import Outcome
from .parameters import parameters
from .records import Table, now_ms
from .script import Script
from .session import Session
from .sql.lexer import Statement, statements
from .sql.scope import Query
from .tables import JobTables
from .writing import destination, insert_query, open_table, require_plain, result_fields

_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "DROP", "TRUNCATE", "ALTER", "COMMIT"})
_REFUSED = (
    "tableDefinitions", "userDefinedFunctionResources", "destinationEncryptionConfiguration",
    "connectionProperties", "createSession", "rangePartitioning", "scriptOptions",
)  # fmt: skip


@dataclass(slots=True)
class QueryRun:
    """A query job at work: where SELECT results go, and what the statements did."""

    session: Session
    storage: Storage
    config: Mapping[str, Any]
    tables: JobTables
    finishing: Callable[[], None]
    dry_run: bool = False
    schema: Sequence[Field] = ()

    def run(self) -> Outcome:
        """Run all statements; the first that fails ends the job."""
        require_plain(self.config, *_REFUSED)
        if self.config.get("useLegacySql", True) is not False:
            raise unsupported("legacy SQL; set useLegacySql to false")
        parts = statements(str(self.config.get("query") or ""))
        if not parts:
            raise invalid_query("Syntax error: Unexpected end of statement")
        script = Script(
            self.session,
            self.tables,
            parameters(self.config),
            self.select,
            self.export,
            dry_run=self.dry_run,
        )
        return self._run(script, parts)

    def _run(self, script: Script, parts: Sequence[Statement]) -> Outcome:
        if len(parts) > 1 and self.config.get("destinationTable"):
            raise invalid_query("configuration.query.destinationTable cannot be set for scripts")
        children: list[dict[str, Any]] = []
        result: Table | None = None
        for part in parts:
            started = now_ms()
            if part is parts[-1] and (
                _CHANGES.intersection(part.words[:1]) or self.config.get("destinationTable")
            ):
                self.finishing()
            try:
                done = script.run(part)
            except BigQueryError as error:
                if len(parts) > 1 and error.location == "query":
                    error.message = f"Query error: {error.message} at [{part.line}:1]"
                raise
            result = done.table if done.kind == "SELECT" else result
            children.append(
                {"started": started, "ended": now_ms(), "sql": part.source, "query": _statistics(done)}
            )
        statistics = children[0]["query"] if len(parts) == 1 else {"statementType": "SCRIPT"}
        statistics |= {
            "totalBytesProcessed": str(self._bytes()),
            "cacheHit": False,
            "referencedTables": self._referenced(),
        }
        if self.dry_run and len(parts) == 1:
            statistics["schema"] = {"fields": fields_to_rest(self.schema)}
        return Outcome(
            {"query": statistics},
            result,
            select=result is not None,
            children=children if len(parts) > 1 else [],
        )

    def _bytes(self) -> int:
        """Estimate what was read: rows times columns times eight."""
        total = 0
        for table in self.tables.referenced.values():
            if table.storage is not None:
                try:
                    rows = self.session.count(f"SELECT count(*) FROM {table.storage}")
                    total += 8 * len(table.fields) * rows
                except BigQueryError:
                    continue  # Dropped by the very statement that named it.
        return total

    def _referenced(self) -> list[dict[str, str]]:
        tables = self.tables.referenced.values()
        return [{"projectId": t.project, "datasetId": t.dataset, "tableId": t.name} for t in tables]

    def select(self, query: Query) -> Table | None:
        """Keep the rows of a SELECT: in the destination table, or in an anonymous one; a dry run keeps none."""
        fields = result_fields(query.outputs)
        self.schema = fields
        session = self.session
        if self.dry_run:
            return None
        if self.config.get("destinationTable"):
            target = destination(self.config, project=self.tables.project, write="WRITE_EMPTY")
            self.tables.check_location(target.project, target.dataset)
            with session.transaction() as catalog:
                known = catalog.find(target.project, target.dataset, target.table)
                if known is None or target.write != "WRITE_TRUNCATE":
                    table = open_table(session, target, fields)
                    insert_query(session, table, query, fields)
                    return catalog.touch(table)
                # The rows are computed before the table is replaced: a query may read what it replaces.
                fresh = catalog.anonymous(self.tables.project, fields)
                insert_query(session, fresh, query, fields)
                return catalog.adopt(open_table(session, target, fields), fresh)
        if session.in_transaction:
            table = session.catalog.anonymous(self.tables.project, fields)
            insert_query(session, table, query, fields)
            return table
        with session.transaction() as catalog:
            table = catalog.anonymous(self.tables.project, fields)
        # Outside of the lock: a long SELECT keeps nobody from writing.
        insert_query(session, table, query, fields)
        return table

    def export(self, query: Query, options: Mapping[str, object]) -> None:
        """Write the rows of EXPORT DATA to Cloud Storage."""
        fields = result_fields(query.outputs)
        plan = exporting.from_options(options)
        check_bucket(self.storage, plan.uri, self.tables.location)
        pairs = zip(query.outputs, fields, strict=True)
        columns = ", ".join(f"_x.{output.inner} AS {quoted(column.name)}" for output, column in pairs)
        sql = f"SELECT {columns} FROM ({query.sql}) AS _x"
        exporting.write(self.session, self.storage, plan, sql, fields)


def _statistics(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = {"statementType": done.kind}
    if done.changes_rows:
        found["numDmlAffectedRows"] = str(done.inserted + done.updated + done.deleted)
        counts = {
            "insertedRowCount": done.inserted,
            "updatedRowCount": done.updated,
            "deletedRowCount": done.deleted,
        }
        found["dmlStats"] = {name: str(count) for name, count in counts.items()}
    if done.operation is not None:
        found["ddlOperationPerformed"] = done.operation
        if done.table is not None:
            found["ddlTargetTable"] = {
                "projectId": done.table.project,
                "datasetId": done.table.dataset,
                "tableId": done.table.name,
            }
    return found
