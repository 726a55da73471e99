"""What each kind of job does: load, query, copy and extract, on one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import export as exporting
from .catalog import Table, now_ms
from .datatypes import Field, fields_to_rest, quoted
from .ddl import Done
from .errors import BigQueryError, NotFound, invalid, invalid_query, unsupported
from .files import SourceFile
from .load import load
from .parameters import parameters
from .script import Script
from .session import Session
from .sql.lexer import Statement, statements
from .sql.scope import Query
from .tables import JobTables
from .writing import destination, insert_query, open_table, require_plain, result_fields

if TYPE_CHECKING:
    from ..storage.store import Storage

_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "DROP", "TRUNCATE", "ALTER", "COMMIT"})
_QUERY_REFUSED = (
    "tableDefinitions", "userDefinedFunctionResources", "destinationEncryptionConfiguration",
    "connectionProperties", "createSession", "rangePartitioning", "scriptOptions",
)  # fmt: skip


@dataclass(slots=True)
class Outcome:
    """What a job leaves behind: its statistics, its result table, the statements of a script."""

    statistics: dict[str, Any] = field(default_factory=dict)
    result: Table | None = None
    select: bool = False
    errors: Sequence[Mapping[str, str]] = ()
    children: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Work:
    """One job's work, with everything it needs."""

    session: Session
    storage: Storage
    project: str
    location: str
    job: str
    media: Path | None = None

    def finishing(self) -> None:
        """Say that the next commit is the job's last: a crash after it finds the job done."""
        self.session.finishes = (self.project, self.job)

    def run(self, configuration: Mapping[str, Any], *, dry_run: bool = False) -> Outcome:
        """Do what the configuration says."""
        for kind, handler in (("load", self._load), ("copy", self._copy), ("extract", self._extract)):
            if configuration.get(kind) is not None:
                self.finishing()
                return handler(configuration[kind])
        if configuration.get("query") is None:
            raise invalid("Required parameter is missing: a job configuration of a known kind")
        return self._query(configuration["query"], dry_run=dry_run)

    def _tables(self, config: Mapping[str, Any]) -> JobTables:
        default = config.get("defaultDataset") or {}
        place = (str(default.get("projectId") or self.project), str(default["datasetId"])) if default.get("datasetId") else None
        return JobTables(self.session.catalog, self.project, self.location, place)

    # Load

    def _load(self, config: Mapping[str, Any]) -> Outcome:
        target = destination(config, project=self.project, write="WRITE_APPEND")
        tables = self._tables({})
        tables.check_location(target.project, target.dataset)
        sources = self._sources(config, tables)
        loaded = load(self.session, config, target, sources)
        statistics = {
            "inputFiles": str(loaded.files), "inputFileBytes": str(loaded.bytes), "outputRows": str(loaded.rows),
            "outputBytes": str(loaded.bytes), "badRecords": str(loaded.bad),
        }  # fmt: skip
        return Outcome({"load": statistics}, loaded.table, loaded.errors)

    def _sources(self, config: Mapping[str, Any], tables: JobTables) -> list[SourceFile]:
        if self.media is not None:
            return [SourceFile(self.media, "the uploaded file")]
        uris = config.get("sourceUris") or []
        if not uris:
            raise invalid("Load configuration must specify at least one source URI")
        found: dict[str, SourceFile] = {}
        for uri in uris:
            self.check_bucket(uri, tables.location)
            matched = self.storage.match(uri)
            if not matched:
                raise NotFound(f"Not found: URI {uri}")
            for stored in matched:
                name = f"gs://{stored.bucket}/{stored.name}"
                found[name] = SourceFile(self.storage.path(stored.bucket, stored.name), name)
        return list(found.values())

    def check_bucket(self, uri: str, location: str) -> None:
        """A bucket has to lie where the job runs, or in its multi-region."""
        from ..storage.errors import NotFound as NoBucket

        bucket = uri.removeprefix("gs://").partition("/")[0]
        if not uri.startswith("gs://") or not bucket:
            raise invalid(f"Invalid source URI: {uri}. Expected gs://bucket/object")
        try:
            home = self.storage.bucket_location(bucket).lower()
        except NoBucket:
            raise NotFound(f"Not found: Bucket {bucket}") from None
        area = {"us": "us", "eu": "europe"}
        fits = home == location.lower() or any(
            one in area and other.startswith(area[one]) for one, other in ((home, location.lower()), (location.lower(), home))
        )
        if not fits:
            raise invalid(f"Cannot read and write in different locations: source: {home}, destination: {location}")

    # Query

    def _query(self, config: Mapping[str, Any], *, dry_run: bool) -> Outcome:
        require_plain(config, *_QUERY_REFUSED)
        if config.get("useLegacySql", True) is not False:
            raise unsupported("legacy SQL; set useLegacySql to false")
        parts = statements(str(config.get("query") or ""))
        if not parts:
            raise invalid_query("Syntax error: Unexpected end of statement")
        running = _Running(self, config, self._tables(config), dry_run=dry_run)
        script = Script(
            self.session, running.tables, parameters(config), running.select, running.export, dry_run=dry_run
        )
        return running.run(script, parts)

    # Copy and extract

    def _copy(self, config: Mapping[str, Any]) -> Outcome:
        require_plain(config, "destinationEncryptionConfiguration", "destinationExpirationTime")
        tables = self._tables({})
        references = config.get("sourceTables") or [config.get("sourceTable") or {}]
        sources = [tables.table(_path(reference, self.project)) for reference in references]
        target = destination(config, project=self.project, write="WRITE_EMPTY")
        tables.check_location(target.project, target.dataset)
        fields = sources[0].fields
        if any(source.fields != fields for source in sources) or any(source.view for source in sources):
            raise invalid("The source tables of a copy must be tables of one schema")
        names = ", ".join(quoted(column.name) for column in fields)
        rows = 0
        with self.session.transaction() as catalog:
            read = [(source.storage, catalog.anonymous(self.project, fields)) for source in sources]
            for storage, spare in read:
                self.session.execute(f"INSERT INTO {spare.storage} SELECT {names} FROM {storage}")
            table = open_table(self.session, target, fields)
            for _, spare in read:
                rows += self.session.count(f"INSERT INTO {table.storage} ({names}) SELECT {names} FROM {spare.storage}")
                catalog.drop(spare)
            table = catalog.touch(table)
        return Outcome({"copy": {"copiedRows": str(rows)}}, table)

    def _extract(self, config: Mapping[str, Any]) -> Outcome:
        table = self._tables({}).table(_path(config.get("sourceTable") or {}, self.project))
        uris = config.get("destinationUris") or [config.get("destinationUri")]
        kind = str(config.get("destinationFormat") or "CSV").upper()
        if len(uris) != 1 or table.storage is None:
            raise unsupported("an extract to several URIs, or of a view")
        self.check_bucket(str(uris[0]), self.location)
        plan = exporting.Export(
            str(uris[0]), "JSON" if kind == "NEWLINE_DELIMITED_JSON" else kind, overwrite=True,
            compression=str(config.get("compression") or "").upper(), header=config.get("printHeader") is not False,
            delimiter=str(config.get("fieldDelimiter") or ","),
        )  # fmt: skip
        files = exporting.write(self.session, self.storage, exporting.checked(plan), f"SELECT * FROM {table.storage}", table.fields)
        return Outcome({"extract": {"destinationUriFileCounts": [str(files)]}})


def _path(reference: Mapping[str, Any], project: str) -> list[str]:
    return [str(reference.get("projectId") or project), str(reference.get("datasetId") or ""), str(reference.get("tableId") or "")]


@dataclass(slots=True)
class _Running:
    """A query job at work: where SELECT results go, and what the statements did."""

    work: Work
    config: Mapping[str, Any]
    tables: JobTables
    dry_run: bool
    schema: Sequence[Field] = ()

    def run(self, script: Script, parts: Sequence[Statement]) -> Outcome:
        if len(parts) > 1 and self.config.get("destinationTable"):
            raise invalid_query("configuration.query.destinationTable cannot be set for scripts")
        children, result = [], None
        for part in parts:
            started = now_ms()
            if part is parts[-1] and (part.words[:1] or [""])[0] in _CHANGES or self.config.get("destinationTable"):
                self.work.finishing()
            try:
                done = script.run(part)
            except BigQueryError as error:
                if len(parts) > 1 and error.location == "query":
                    error.message = f"Query error: {error.message} at [{part.line}:1]"
                raise
            result = done.table if done.kind == "SELECT" else result
            children.append({"started": started, "ended": now_ms(), "sql": part.source, "query": _statistics(done)})
        statistics = children[0]["query"] if len(parts) == 1 else {"statementType": "SCRIPT"}
        statistics |= {"totalBytesProcessed": str(self._bytes()), "cacheHit": False, "referencedTables": self._referenced()}
        if self.dry_run and len(parts) == 1:
            statistics["schema"] = {"fields": fields_to_rest(self.schema)}
        return Outcome(
            {"query": statistics}, result, select=result is not None, children=children if len(parts) > 1 else []
        )

    def _bytes(self) -> int:
        """Estimate what was read: rows times columns times eight."""
        total = 0
        for table in self.tables.referenced.values():
            if table.storage is not None:
                try:
                    total += 8 * len(table.fields) * self.work.session.count(f"SELECT count(*) FROM {table.storage}")
                except BigQueryError:
                    continue  # Dropped by the very statement that named it.
        return total

    def _referenced(self) -> list[dict[str, str]]:
        tables = self.tables.referenced.values()
        return [{"projectId": t.project, "datasetId": t.dataset, "tableId": t.name} for t in tables]

    def select(self, query: Query) -> Table:
        """Keep the rows of a SELECT: in the destination table, or in an anonymous one."""
        fields = result_fields(query.outputs)
        session = self.work.session
        if self.config.get("destinationTable"):
            target = destination(self.config, project=self.work.project, write="WRITE_EMPTY")
            self.tables.check_location(target.project, target.dataset)
            with session.transaction() as catalog:
                # The rows are computed before the table is replaced: a query may read what it replaces.
                spare = catalog.anonymous(self.work.project, fields)
                insert_query(session, spare, query, fields)
                table = open_table(session, target, fields)
                known = {column.name.lower(): column for column in table.fields}
                names = ", ".join(quoted(known[column.name.lower()].name) for column in fields)
                read = ", ".join(quoted(column.name) for column in fields)
                session.execute(f"INSERT INTO {table.storage} ({names}) SELECT {read} FROM {spare.storage}")
                catalog.drop(spare)
                return catalog.touch(table)
        if session.in_transaction:
            table = session.catalog.anonymous(self.work.project, fields)
            insert_query(session, table, query, fields)
            return table
        with session.transaction() as catalog:
            table = catalog.anonymous(self.work.project, fields)
        # Outside of the lock: a long SELECT keeps nobody from writing.
        insert_query(session, table, query, fields)
        return table

    def export(self, query: Query, options: Mapping[str, object]) -> None:
        """Write the rows of EXPORT DATA to Cloud Storage."""
        fields = result_fields(query.outputs)
        plan = exporting.from_options(options)
        self.work.check_bucket(plan.uri, self.work.location)
        pairs = zip(query.outputs, fields, strict=True)
        columns = ", ".join(f"_x.{output.inner} AS {quoted(column.name)}" for output, column in pairs)
        sql = f"SELECT {columns} FROM ({query.sql}) AS _x"
        exporting.write(self.work.session, self.work.storage, plan, sql, fields)


def _statistics(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = {"statementType": done.kind}
    if done.changes_rows:
        found["numDmlAffectedRows"] = str(done.inserted + done.updated + done.deleted)
        counts = {"insertedRowCount": done.inserted, "updatedRowCount": done.updated, "deletedRowCount": done.deleted}
        found["dmlStats"] = {name: str(count) for name, count in counts.items()}
    if done.operation is not None:
        found["ddlOperationPerformed"] = done.operation
        if done.table is not None:
            found["ddlTargetTable"] = {"projectId": done.table.project, "datasetId": done.table.dataset, "tableId": done.table.name}
    return found

