"""The catalogue of datasets and tables: kept in the database itself, so that a table and its entry change together."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from .datatypes import Field, duckdb_type, fields_from_rest, fields_to_rest, quoted
from .errors import duplicate, invalid, not_found, unsupported

_SCHEMA = (
    "CREATE SCHEMA IF NOT EXISTS bq_meta",
    "CREATE TABLE IF NOT EXISTS bq_meta.datasets (project VARCHAR, dataset VARCHAR, doc VARCHAR)",
    "CREATE TABLE IF NOT EXISTS bq_meta.tables (project VARCHAR, dataset VARCHAR, name VARCHAR, doc VARCHAR)",
    "CREATE TABLE IF NOT EXISTS bq_meta.finished (project VARCHAR, job VARCHAR)",
)
ANONYMOUS = "_anonymous"
_ANONYMOUS_LIFE_MS = 24 * 3600 * 1000


def now_ms() -> int:
    """The time in milliseconds, as BigQuery's resources say it."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset: its location never changes; `options` are the other fields of the resource, as given."""

    project: str
    name: str
    location: str
    created: int
    modified: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """A table or a view; `storage` is where its rows lie, `options` are the other fields of the resource."""

    project: str
    dataset: str
    name: str
    fields: tuple[Field, ...]
    storage: str | None
    created: int
    modified: int
    view: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """The name as BigQuery's messages say it."""
        return f"{self.project}:{self.dataset}.{self.name}"

    @property
    def expired(self) -> bool:
        """Say whether its expiration time has passed."""
        moment = self.options.get("expirationTime")
        return moment is not None and int(moment) <= now_ms()


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
        self._cursor.execute("INSERT INTO bq_meta.datasets VALUES (?, ?, ?)", [project, name, _packed(made)])
        return made

    def update_dataset(self, dataset: Dataset) -> Dataset:
        """Keep changed options of a dataset."""
        dataset = replace(dataset, modified=max(now_ms(), dataset.modified + 1))
        self._cursor.execute(
            "UPDATE bq_meta.datasets SET doc = ? WHERE project = ? AND dataset = ?",
            [_packed(dataset), dataset.project, dataset.name],
        )
        return dataset

    def drop_dataset(self, project: str, name: str, *, contents: bool) -> None:
        """Delete a dataset; one with tables only when `contents` says so."""
        self.dataset(project, name)
        tables = self.tables(project, name)
        if tables and not contents:
            raise _in_use(f"Dataset {project}:{name} is still in use")
        for table in tables:
            self.drop(table)
        self._cursor.execute("DELETE FROM bq_meta.datasets WHERE project = ? AND dataset = ?", [project, name])

    # Tables

    def find(self, project: str, dataset: str, name: str) -> Table | None:
        """Return a table, or None; an expired one is not there."""
        rows = self._rows(
            "SELECT doc FROM bq_meta.tables WHERE project = ? AND dataset = ? AND name = ?", project, dataset, name
        )
        table = _table(rows[0][0]) if rows else None
        return None if table is None or table.expired else table

    def table(self, project: str, dataset: str, name: str) -> Table:
        """Return a table; raises notFound for the dataset or for the table."""
        if "$" in name:
            raise unsupported(f"the partition decorator of {name}")
        if dataset != ANONYMOUS:
            self.dataset(project, dataset)
        found = self.find(project, dataset, name)
        if found is None:
            raise not_found("Table", f"{project}:{dataset}.{name}")
        return found

    def tables(self, project: str, dataset: str) -> list[Table]:
        """List a dataset's tables and views by name."""
        rows = self._rows(
            "SELECT doc FROM bq_meta.tables WHERE project = ? AND dataset = ? ORDER BY name", project, dataset
        )
        return [table for table in map(lambda row: _table(row[0]), rows) if not table.expired]

    def create(
        self, project: str, dataset: str, name: str, fields: Sequence[Field], *,
        options: Mapping[str, Any] | None = None, view: str | None = None,
    ) -> Table:  # fmt: skip
        """Create an empty table, or a view; raises duplicate."""
        _check_name(name)
        if dataset != ANONYMOUS:
            self.dataset(project, dataset)
        stale = self._rows(
            "SELECT doc FROM bq_meta.tables WHERE project = ? AND dataset = ? AND name = ?", project, dataset, name
        )
        if stale:
            if not _table(stale[0][0]).expired:
                raise duplicate("Table", f"{project}:{dataset}.{name}")
            self.drop(_table(stale[0][0]))
        moment = now_ms()
        table = Table(project, dataset, name, tuple(fields), None, moment, moment, view, options or {})
        life = self.dataset(project, dataset).options.get("defaultTableExpirationMs") if dataset != ANONYMOUS else None
        if life is not None and "expirationTime" not in table.options:
            table = replace(table, options={**table.options, "expirationTime": str(moment + int(life))})
        if view is None:
            table = replace(table, storage=self._new_storage(table))
        self._cursor.execute("INSERT INTO bq_meta.tables VALUES (?, ?, ?, ?)", [project, dataset, name, _packed(table)])
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
            [_packed(table), table.project, table.dataset, table.name],
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
            [name, _packed(renamed), table.project, table.dataset, table.name],
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
            table = _table(row[0])
            if table.expired:
                self.drop(table)

    # Jobs whose work is committed

    def finish(self, project: str, job: str) -> None:
        """Note, in the same transaction as its work, that a job has committed."""
        self._cursor.execute("INSERT INTO bq_meta.finished VALUES (?, ?)", [project, job])

    def finished(self) -> set[tuple[str, str]]:
        """Return the jobs that have committed."""
        return {(str(row[0]), str(row[1])) for row in self._rows("SELECT DISTINCT project, job FROM bq_meta.finished")}

    def forget_finished(self) -> None:
        """Drop the notes, once the jobs know."""
        self._cursor.execute("DELETE FROM bq_meta.finished")


def _in_use(message: str) -> Exception:
    from .errors import BigQueryError

    return BigQueryError("resourceInUse", message)


def _check_name(name: str) -> None:
    if "$" in name:
        raise unsupported(f"the partition decorator of {name}")
    if not name or len(name) > 1024 or any(c in '"`.*\\/\n\r\t' for c in name):
        raise invalid(f'Invalid table ID "{name}"')


def column_list(fields: Sequence[Field]) -> str:
    """Render columns for CREATE TABLE."""
    columns = []
    for column in fields:
        extra = " NOT NULL" if column.required else " DEFAULT []" if column.type.kind == "ARRAY" else ""
        columns.append(f"{quoted(column.name)} {duckdb_type(column.type)}{extra}")
    return ", ".join(columns)


def _packed(value: Dataset | Table) -> str:
    doc = {name: getattr(value, name) for name in value.__slots__}
    if isinstance(value, Table):
        doc["fields"] = fields_to_rest(value.fields)
    return orjson.dumps(doc).decode()


def _table(doc: str) -> Table:
    raw = orjson.loads(doc)
    return Table(**{**raw, "fields": fields_from_rest(raw["fields"])})


def etag(*parts: object) -> str:
    """Make an entity tag out of what may change."""
    return hashlib.md5(repr(parts).encode(), usedforsecurity=False).hexdigest()
