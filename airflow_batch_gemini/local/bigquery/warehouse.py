"""The warehouse: datasets, tables and jobs over one DuckDB file, without any HTTP."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import duckdb

from airflow_batch_gemini.local.storage.store import Storage

from . import functions, macros
from .catalog import Catalog
from .coercion import RecordReader
from .datatypes import Column, Field, array, columns_of, quoted
from .errors import BigQueryError, NotFound
from .jobs import Jobs
from .load import insert_rows
from .records import Dataset, Table
from .registry import Registry
from .session import Session
from .sql.dialect import parse, parse_type
from .sql.scope import Context
from .sql.translator import query
from .tables import JobTables
from .values import python_value, select_list
from .writing import Destination

_CONFIG = {
    # Written once and read soon: compressing answers costs three times as long as writing them.
    "force_compression": "uncompressed",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}


_SIZES = {
    **dict.fromkeys(("STRING", "JSON"), "2 + coalesce(strlen({}), 0)"),
    "BYTES": "2 + coalesce(octet_length({}), 0)",
    **dict.fromkeys(("ARRAY", "STRUCT"), "coalesce(strlen(CAST({} AS VARCHAR)), 0)"),
}


def memory_limit_mb() -> int:
    """Half of the machine's memory, within 2 and 4 GB: sorting a large batch needs room, the machine needs some too."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return max(2_000, min(4_000, total // 2))


class Warehouse:
    """Keeps datasets, tables and jobs in one folder; state survives the process, however it ends.

    Safe to use from many threads. One process at a time can have the files open.
    """

    def __init__(self, database: Path, storage: Storage, *, default_location: str = "us-central1") -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        self.storage = storage
        self.default_location = default_location
        self.job_delay_looks = 0
        self.uploads = database.with_suffix(".uploads")
        self.uploads.mkdir(exist_ok=True)
        for left in self.uploads.iterdir():
            left.unlink(missing_ok=True)
        self._write_lock = threading.Lock()
        self._cursor_lock = threading.Lock()
        config = {
            **_CONFIG,
            "memory_limit": f"{memory_limit_mb()}MB",
            "temp_directory": str(database.with_suffix(".tmp")),
        }
        self._base = duckdb.connect(str(database), config=config)
        try:
            committed = self._prepare()
            self.jobs = Jobs(self, Registry(database.with_suffix(".jobs")))
        except BaseException:
            self._base.close()
            raise
        self.jobs.recover(committed)
        with self.session() as session, session.transaction() as catalog:
            catalog.forget_finished()
            catalog.sweep()

    def _prepare(self) -> set[tuple[str, str]]:
        functions.register(self._base)
        for statement in macros.statements():
            self._base.execute(statement)
        catalog = Catalog(self._base, default_location=self.default_location)
        catalog.prepare()
        return catalog.finished()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the jobs and close the files."""
        self.jobs.close()
        self._base.close()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Give a session of one's own; what is open at the end is undone."""
        with self._cursor_lock:
            cursor = self._base.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        session = Session(cursor, self._write_lock, default_location=self.default_location)
        try:
            yield session
        finally:
            session.close()

    # Datasets

    def create_dataset(
        self, project: str, dataset: str, *, location: str | None = None, exist_ok: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> Dataset:  # fmt: skip
        """Create a dataset; one that exists is an error, unless `exist_ok`: then it is returned as it is."""
        with self.session() as session, session.transaction() as catalog:
            try:
                return catalog.create_dataset(project, dataset, location=location, options=options)
            except BigQueryError as error:
                if not exist_ok or error.reason != "duplicate":
                    raise
                return catalog.dataset(project, dataset)

    def dataset_location(self, project: str, dataset: str) -> str:
        """Return where a dataset lies; raises NotFound."""
        with self.session() as session:
            return session.catalog.dataset(project, dataset).location

    def dataset_names(self) -> list[str]:
        """List all datasets as project.dataset."""
        with self.session() as session:
            catalog = session.catalog
            return [f"{p}.{d.name}" for p in catalog.projects() for d in catalog.datasets(p)]

    # Tables

    def table(self, project: str, dataset: str, table: str) -> Table:
        """Return a table or a view; raises NotFound."""
        with self.session() as session:
            return session.catalog.table(project, dataset, table)

    def table_exists(self, project: str, dataset: str, table: str) -> bool:
        """Say whether there is such a table or view."""
        try:
            self.table(project, dataset, table)
        except NotFound:
            return False
        return True

    def columns(self, project: str, dataset: str, table: str) -> list[Column]:
        """Return the columns of a table; raises NotFound."""
        return columns_of(self.table(project, dataset, table).fields)

    def read_rows(
        self, project: str, dataset: str, table: str, *, batch_size: int = 10_000
    ) -> Iterator[list[dict[str, object]]]:
        """Yield the rows of a table in batches, as Python values; a JSON value is its text."""
        with self.session() as session:
            found = session.catalog.table(project, dataset, table)
            answer = session.execute(
                f"SELECT {select_list(found.fields)} FROM {relation_sql(session, found)}"
            )
            while batch := answer.fetchmany(batch_size):
                yield [
                    {f.name: python_value(value, f.type) for f, value in zip(found.fields, row, strict=True)}
                    for row in batch
                ]

    def write_table(
        self,
        project: str,
        dataset: str,
        table: str,
        columns: Sequence[Column],
        rows: Iterable[Mapping[str, object]],
    ) -> int:
        """Create a table, or replace it, with these rows; returns how many. A JSON column takes JSON text."""
        fields = [_field(column) for column in columns]
        reader = RecordReader(fields, json_as_text=True)
        target = Destination(project, dataset, table, "WRITE_TRUNCATE")
        incoming = ((reader.read(dict(row)), 4096) for row in rows)
        with self.session() as session:
            return insert_rows(session, target, fields, incoming)[1]

    def page(
        self, table: Table, *, start: int, count: int, fields: Sequence[Field]
    ) -> Iterator[Sequence[Any]]:
        """Yield rows of a table from a place on, in the order in which they were written."""
        with self.session() as session:
            source = relation_sql(session, table)
            answer = session.execute(
                f"SELECT {select_list(fields)} FROM {source} LIMIT {count} OFFSET {start}"
            )
            while batch := answer.fetchmany(500):
                yield from batch

    def row_count(self, table: Table) -> int:
        """Count the rows of a table; a view has none of its own."""
        if table.storage is None:
            return 0
        with self.session() as session:
            return session.count(f"SELECT count(*) FROM {table.storage}")

    def byte_count(self, table: Table) -> int:
        """Estimate the size of a table from its first thousand rows."""
        if table.storage is None:
            return 0
        with self.session() as session:
            sizes = " + ".join(_SIZES.get(f.type.kind, "8").format(quoted(f.name)) for f in table.fields)
            sample = session.execute(
                f"SELECT count(*), coalesce(sum({sizes}), 0) FROM (SELECT * FROM {table.storage} LIMIT 1000)"
            ).fetchone()
            rows = session.count(f"SELECT count(*) FROM {table.storage}")
        return int(sample[1]) * rows // int(sample[0]) if sample and sample[0] else 0


def relation_sql(session: Session, table: Table) -> str:
    """Return what to read a table or a view from, with the columns under their own names."""
    if table.storage is not None:
        return table.storage
    location = session.catalog.dataset(table.project, table.dataset).location
    tables = JobTables(session.catalog, table.project, location, (table.project, table.dataset))
    found = query(parse(table.view or ""), None, Context(tables))
    columns = ", ".join(f"_v.{output.inner} AS {quoted(output.name)}" for output in found.outputs)
    return f"(SELECT {columns} FROM ({found.sql}) AS _v)"


def _field(column: Column) -> Field:
    type_ = parse_type(column.type)
    if column.mode == "REPEATED":
        type_ = array(type_)
    return Field(column.name, type_, required=column.mode == "REQUIRED")
