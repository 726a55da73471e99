"""The catalogue of datasets and tables: kept in the database itself, so that a table and its entry change together."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from .datatypes import Field, quoted
from .errors import BigQueryError, duplicate, invalid, not_found, unsupported
from .records import Dataset, Table, column_list, now_ms, packed, unpacked

_SCHEMA = (
    "CREATE SCHEMA IF NOT EXISTS bq_meta",
    "CREATE TABLE IF NOT EXISTS bq_meta.datasets (project VARCHAR, dataset VARCHAR, doc VARCHAR)",
    "CREATE TABLE IF NOT EXISTS bq_meta.tables (project VARCHAR, dataset VARCHAR, name VARCHAR, doc VARCHAR)",
    "CREATE TABLE IF NOT EXISTS bq_meta.finished (project VARCHAR, job VARCHAR)",
)
ANONYMOUS = "_anonymous"
_ANONYMOUS_LIFE_MS = 24 * 3600 * 1000


class Catalog:
    """Reads and writes the catalogue through one cursor, inside whatever transaction that cursor is in."""

    def __init__(self, cursor: Any, *, default_location: str) -> None:
        self._cursor = cursor
        self._default_location = default_location

    def prepare(self) -> None:
        """Create the catalogue in a new database."""
        for statement in _SCHEMA:
            self._cursor.execute(statement)

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._cursor.execute(sql, list(values)).fetchall()
        return rows

    # Datasets

    def dataset(self, project: str, name: str) -> Dataset:
        """Return a dataset; raises notFound."""
        rows = self._rows("SELECT doc FROM bq_meta.datasets WHERE project = ? AND dataset = ?", project, name)
        if not rows:
            raise not_found("Dataset", f"{project}:{name}")
        return Dataset(**orjson.loads(rows[0][0]))

    def datasets(self, project: str) -> list[Dataset]:
        """List a project's datasets by name."""
        rows = self._rows("SELECT doc FROM bq_meta.datasets WHERE project = ? ORDER BY dataset", project)
        return [Dataset(**orjson.loads(row[0])) for row in rows]

    def projects(self) -> list[str]:
        """List the projects that have a dataset."""
        return [str(row[0]) for row in self._rows("SELECT DISTINCT project FROM bq_meta.datasets ORDER BY 1")]

    def create_dataset(
        self, project: str, name: str, *, location: str | None, options: Mapping[str, Any] | None = None
    ) -> Dataset:
        """Create a dataset; raises duplicate."""
        if not name or not all(c.isalnum() or c == "_" for c in name) or len(name) > 1024:
            raise invalid(f'Invalid dataset ID "{name}". Dataset IDs must be alphanumeric (plus underscores)')
        if self._rows("SELECT 1 FROM bq_meta.datasets WHERE project = ? AND dataset = ?", project, name):
            raise duplicate("Dataset", f"{project}:{name}")
        moment = now_ms()
        made = Dataset(project, name, location or self._default_location, moment, moment, options or {})
        self._cursor.execute("INSERT INTO bq_meta.datasets VALUES (?, ?, ?)", [project, name, packed(made)])
        return made

    def update_dataset(self, dataset: Dataset) -> Dataset:
        """Keep changed options of a dataset."""
        dataset = replace(dataset, modified=max(now_ms(), dataset.modified + 1))
        self._cursor.execute(
            "UPDATE bq_meta.datasets SET doc = ? WHERE project = ? AND dataset = ?",
            [packed(dataset), dataset.project, dataset.name],
        )
        return dataset

    def drop_dataset(self, project: str, name: str, *, contents: bool) -> None:
        """Delete a dataset; one with tables only when `contents` says so."""
        self.dataset(project, name)
        tables = self.tables(project, name)
        if tables and not contents:
            raise BigQueryError("resourceInUse", f"Dataset {project}:{name} is still in use")
        for table in tables:
            self.drop(table)
        self._cursor.execute(
            "DELETE FROM bq_meta.datasets WHERE project = ? AND dataset = ?", [project, name]
        )

    # Tables

    def find(self, project: str, dataset: str, name: str) -> Table | None:
        """Return a table, or None; an expired one is not there."""
        rows = self._rows(
            "SELECT doc FROM bq_meta.tables WHERE project = ? AND dataset = ? AND name = ?",
            project,
            dataset,
            name,
        )
        table = unpacked(rows[0][0]) if rows else None
        return None if table is None or table.expired else table

    def table(self, project: str, dataset: str, name: str) -> Table:
        """Return a table; raises notFound for the dataset or for the table."""
        if "$" in name:
            raise unsupported(f"the partition decorator of {name}")
        found = self.find(project, dataset, name)
        if found is None:
            if dataset != ANONYMOUS:
                self.dataset(project, dataset)
            raise not_found("Table", f"{project}:{dataset}.{name}")
        return found

    def tables(self, project: str, dataset: str) -> list[Table]:
        """List a dataset's tables and views by name."""
        rows = self._rows(
            "SELECT doc FROM bq_meta.tables WHERE project = ? AND dataset = ? ORDER BY name", project, dataset
        )
        return [table for row in rows if not (table := unpacked(row[0])).expired]

    def create(
        self, project: str, dataset: str, name: str, fields: Sequence[Field], *,
        options: Mapping[str, Any] | None = None, view: str | None = None,
    ) -> Table:  # fmt: skip
        """Create an empty table, or a view; raises duplicate."""
        _check_name(name)
        if dataset != ANONYMOUS:
            self.dataset(project, dataset)
        stale = self._rows(
            "SELECT doc FROM bq_meta.tables WHERE project = ? AND dataset = ? AND name = ?",
            project,
            dataset,
            name,
        )
        if stale:
            if not unpacked(stale[0][0]).expired:
                raise duplicate("Table", f"{project}:{dataset}.{name}")
            self.drop(unpacked(stale[0][0]))
        moment = now_ms()
        table = Table(project, dataset, name, tuple(fields), None, moment, moment, view, options or {})
        life = (
            self.dataset(project, dataset).options.get("defaultTableExpirationMs")
            if dataset != ANONYMOUS
            else None
        )
        if life is not None and "expirationTime" not in table.options:
            table = replace(table, options={**table.options, "expirationTime": str(moment + int(life))})
        if view is None:
            table = replace(table, storage=self._new_storage(table))
        self._cursor.execute(
            "INSERT INTO bq_meta.tables VALUES (?, ?, ?, ?)", [project, dataset, name, packed(table)]
        )
        return table

    def _new_storage(self, table: Table) -> str:
        """Create the DuckDB table that holds the rows; its name is unique, so that names may differ by case only."""
        schema = quoted(f"{table.project}.{table.dataset}")
        self._cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        storage = f"{schema}.{quoted(f'{table.name}#{uuid.uuid4().hex[:8]}')}"
        self._cursor.execute(f"CREATE TABLE {storage} ({column_list(table.fields)})")
        return storage

    def empty(self, table: Table, fields: Sequence[Field]) -> Table:
        """Replace the rows and the schema of a table by none and by a new one; the other options stay."""
        table = replace(table, fields=tuple(fields))
        fresh = replace(table, storage=self._new_storage(table))
        self._cursor.execute(f"DROP TABLE {table.storage}")
        return self.touch(fresh)

    def add_fields(self, table: Table, fields: Sequence[Field]) -> Table:
        """Add columns to a table; existing rows have NULL, or an empty array, in them."""
        for column in fields:
            if column.required:
                raise invalid(f"Cannot add required field {column.name} to an existing schema")
            self._cursor.execute(f"ALTER TABLE {table.storage} ADD COLUMN {column_list([column])}")
        return self.touch(replace(table, fields=(*table.fields, *fields)))

    def touch(self, table: Table) -> Table:
        """Keep a changed table, with a new modification time."""
        table = replace(table, modified=max(now_ms(), table.modified + 1))
        self._cursor.execute(
            "UPDATE bq_meta.tables SET doc = ? WHERE project = ? AND dataset = ? AND name = ?",
            [packed(table), table.project, table.dataset, table.name],
        )
        return table

    def adopt(self, table: Table, other: Table) -> Table:
        """Give the rows of another table to an empty one; the other table is gone."""
        self._cursor.execute(f"DROP TABLE {table.storage}")
        self._cursor.execute(
            "DELETE FROM bq_meta.tables WHERE project = ? AND dataset = ? AND name = ?",
            [other.project, other.dataset, other.name],
        )
        return self.touch(replace(table, storage=other.storage))

    def rename(self, table: Table, name: str) -> Table:
        """Give a table another name in its dataset; the rows stay where they are."""
        _check_name(name)
        if self.find(table.project, table.dataset, name) is not None:
            raise duplicate("Table", f"{table.project}:{table.dataset}.{name}")
        renamed = replace(table, name=name, modified=now_ms())
        self._cursor.execute(
            "UPDATE bq_meta.tables SET name = ?, doc = ? WHERE project = ? AND dataset = ? AND name = ?",
            [name, packed(renamed), table.project, table.dataset, table.name],
        )
        return renamed

    def drop(self, table: Table) -> None:
        """Delete a table or a view."""
        if table.storage is not None:
            self._cursor.execute(f"DROP TABLE {table.storage}")
        self._cursor.execute(
            "DELETE FROM bq_meta.tables WHERE project = ? AND dataset = ? AND name = ?",
            [table.project, table.dataset, table.name],
        )

    def anonymous(self, project: str, fields: Sequence[Field]) -> Table:
        """Create the table that holds the result of a query without a destination, for a day."""
        options = {"expirationTime": str(now_ms() + _ANONYMOUS_LIFE_MS)}
        return self.create(project, ANONYMOUS, f"anon{uuid.uuid4().hex}", fields, options=options)

    def sweep(self) -> None:
        """Delete every table whose time has passed."""
        for row in self._rows("SELECT doc FROM bq_meta.tables"):
            table = unpacked(row[0])
            if table.expired:
                self.drop(table)

    # Jobs whose work is committed

    def finish(self, project: str, job: str) -> None:
        """Note, in the same transaction as its work, that a job has committed."""
        self._cursor.execute("INSERT INTO bq_meta.finished VALUES (?, ?)", [project, job])

    def finished(self) -> set[tuple[str, str]]:
        """Return the jobs that have committed."""
        return {
            (str(row[0]), str(row[1]))
            for row in self._rows("SELECT DISTINCT project, job FROM bq_meta.finished")
        }

    def forget_finished(self) -> None:
        """Drop the notes, once the jobs know."""
        self._cursor.execute("DELETE FROM bq_meta.finished")


def _check_name(name: str) -> None:
    if "$" in name:
        raise unsupported(f"the partition decorator of {name}")
    if not name or len(name) > 1024 or any(c in '"`.*\\/\n\r\t' for c in name):
        raise invalid(f'Invalid table ID "{name}"')
