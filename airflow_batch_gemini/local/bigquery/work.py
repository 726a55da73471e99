"""What each kind of job does: load, query, copy and extract, on one session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_batch_gemini.local.storage.store import Storage

from . import export as exporting
from .buckets import check_bucket
from .datatypes import quoted
from .errors import NotFound, invalid, unsupported
from .files import SourceFile
from .load import load
from .outcome import Outcome
from .query_run import QueryRun
from .session import Session
from .tables import JobTables
from .writing import destination, open_table, require_plain


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
        place = (
            (str(default.get("projectId") or self.project), str(default["datasetId"]))
            if default.get("datasetId")
            else None
        )
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
        return Outcome({"load": statistics}, loaded.table, errors=loaded.errors)

    def _sources(self, config: Mapping[str, Any], tables: JobTables) -> list[SourceFile]:
        if self.media is not None:
            return [SourceFile(self.media, "the uploaded file")]
        uris = config.get("sourceUris") or []
        if not uris:
            raise invalid("Load configuration must specify at least one source URI")
        found: dict[str, SourceFile] = {}
        for uri in uris:
            check_bucket(self.storage, uri, tables.location)
            matched = self.storage.match(uri)
            if not matched:
                raise NotFound(f"Not found: URI {uri}")
            for stored in matched:
                name = f"gs://{stored.bucket}/{stored.name}"
                found[name] = SourceFile(self.storage.path(stored.bucket, stored.name), name)
        return list(found.values())

    # Query

    def _query(self, config: Mapping[str, Any], *, dry_run: bool) -> Outcome:
        running = QueryRun(
            session=self.session,
            storage=self.storage,
            config=config,
            tables=self._tables(config),
            finishing=self.finishing,
            dry_run=dry_run,
        )
        return running.run()

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
                rows += self.session.count(
                    f"INSERT INTO {table.storage} ({names}) SELECT {names} FROM {spare.storage}"
                )
                catalog.drop(spare)
            table = catalog.touch(table)
        return Outcome({"copy": {"copiedRows": str(rows)}}, table)

    def _extract(self, config: Mapping[str, Any]) -> Outcome:
        table = self._tables({}).table(_path(config.get("sourceTable") or {}, self.project))
        uris = config.get("destinationUris") or [config.get("destinationUri")]
        kind = str(config.get("destinationFormat") or "CSV").upper()
        if len(uris) != 1 or table.storage is None:
            raise unsupported("an extract to several URIs, or of a view")
        check_bucket(self.storage, str(uris[0]), self.location)
        plan = exporting.Export(
            str(uris[0]), "JSON" if kind == "NEWLINE_DELIMITED_JSON" else kind, overwrite=True,
            compression=str(config.get("compression") or "").upper(), header=config.get("printHeader") is not False,
            delimiter=str(config.get("fieldDelimiter") or ","),
        )  # fmt: skip
        files = exporting.write(
            self.session,
            self.storage,
            exporting.checked(plan),
            f"SELECT * FROM {table.storage}",
            table.fields,
        )
        return Outcome({"extract": {"destinationUriFileCounts": [str(files)]}})


def _path(reference: Mapping[str, Any], project: str) -> list[str]:
    return [
        str(reference.get("projectId") or project),
        str(reference.get("datasetId") or ""),
        str(reference.get("tableId") or ""),
    ]
