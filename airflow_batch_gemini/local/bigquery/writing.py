"""Bringing rows into a table: the write and create dispositions, and the rows of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .catalog import Catalog
from .datatypes import Field, literal, quoted, stored_type
from .errors import duplicate, invalid, not_found, unsupported
from .records import Table
from .session import Session
from .sql.casts import coerce, coerces
from .sql.scope import Expr, Output, Query

_DISPOSITIONS = frozenset({"WRITE_EMPTY", "WRITE_APPEND", "WRITE_TRUNCATE"})


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a job writes and what it may do there."""

    project: str
    dataset: str
    table: str
    write: str
    create: str = "CREATE_IF_NEEDED"
    updates: frozenset[str] = frozenset()
    options: Mapping[str, Any] | None = None

    @property
    def full_name(self) -> str:
        """The table as BigQuery's messages say it."""
        return f"{self.project}:{self.dataset}.{self.table}"


def destination(config: Mapping[str, Any], *, project: str, write: str) -> Destination:
    """Read the destination of a job's configuration; `write` is the disposition by default."""
    reference = config.get("destinationTable") or {}
    disposition = str(config.get("writeDisposition") or write)
    created = str(config.get("createDisposition") or "CREATE_IF_NEEDED")
    if disposition not in _DISPOSITIONS or created not in {"CREATE_IF_NEEDED", "CREATE_NEVER"}:
        raise invalid(f"Invalid disposition: {disposition}, {created}")
    if not reference.get("datasetId") or not reference.get("tableId"):
        raise invalid("Required parameter is missing: destinationTable")
    options = dict(config.get("destinationTableProperties") or {})
    for name in ("timePartitioning", "rangePartitioning", "clustering"):
        if config.get(name):
            options[name] = config[name]
    check_options(options)
    updates = frozenset(config.get("schemaUpdateOptions") or ())
    if updates - {"ALLOW_FIELD_ADDITION", "ALLOW_FIELD_RELAXATION"}:
        raise invalid(f"Invalid schemaUpdateOptions: {sorted(updates)}")
    return Destination(
        str(reference.get("projectId") or project), str(reference["datasetId"]), str(reference["tableId"]),
        disposition, created, updates, options,
    )  # fmt: skip


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options of a table that would be kept here but not obeyed."""
    partitioning = options.get("timePartitioning") or {}
    if partitioning and not partitioning.get("field"):
        raise unsupported("tables partitioned by ingestion time")
    if partitioning.get("expirationMs") not in (None, "0"):
        raise unsupported("partitions that expire")
    if options.get("requirePartitionFilter") or partitioning.get("requirePartitionFilter"):
        raise unsupported("require_partition_filter")


def open_table(session: Session, target: Destination, fields: Sequence[Field]) -> Table:
    """Make the table ready to take rows of this schema, as the dispositions say."""
    catalog = session.catalog
    catalog.dataset(target.project, target.dataset)
    table = catalog.find(target.project, target.dataset, target.table)
    if table is None:
        if target.create == "CREATE_NEVER":
            raise not_found("Table", target.full_name)
        return catalog.create(target.project, target.dataset, target.table, fields, options=target.options)
    if table.view is not None:
        raise invalid(f"{target.full_name} is a view and cannot be written to")
    if target.write == "WRITE_EMPTY" and session.count(f"SELECT count(*) FROM {table.storage}"):
        raise duplicate("Table", target.full_name)
    if target.write == "WRITE_TRUNCATE":
        table = replace(table, options={**table.options, **(target.options or {})})
        return catalog.empty(table, fields)
    return _extended(catalog, table, fields, target)


def _extended(catalog: Catalog, table: Table, fields: Sequence[Field], target: Destination) -> Table:
    known = {field.name.lower(): field for field in table.fields}
    added = [field for field in fields if field.name.lower() not in known]
    for field in fields:
        old = known.get(field.name.lower())
        if old is not None and not coerces(Expr("x", field.type), old.type) and not _readable(field, old):
            raise invalid(
                f"Provided Schema does not match Table {table.full_name}. Field {field.name} has changed type from "
                f"{old.type} to {field.type}"
            )
    if added and "ALLOW_FIELD_ADDITION" not in target.updates:
        raise invalid(
            f"Provided Schema does not match Table {table.full_name}. Cannot add fields (field: {added[0].name})"
        )
    return catalog.add_fields(table, [replace(field, required=False) for field in added]) if added else table


def _readable(new: Field, old: Field) -> bool:
    return new.type.kind == "STRING" and old.type.kind == "JSON"


def result_fields(outputs: Sequence[Output]) -> list[Field]:
    """Return the schema of a query's result; two columns of one name are refused."""
    fields, seen = [], set[str]()
    for output in outputs:
        if output.name.lower() in seen:
            raise invalid(
                f"Duplicate column names in the result are not supported. Found duplicate(s): {output.name}"
            )
        seen.add(output.name.lower())
        fields.append(Field(output.name, stored_type(output.type)))
    return fields


def insert_query(session: Session, table: Table, query: Query, fields: Sequence[Field]) -> int:
    """Write the rows of a query into columns of a table, in order; returns how many."""
    known = {field.name.lower(): field for field in table.fields}
    columns, values = [], []
    for output, field in zip(query.outputs, fields, strict=True):
        target = known[field.name.lower()]
        value = coerce(Expr(f"_r.{output.inner}", output.type), target.type)
        columns.append(quoted(target.name))
        values.append(stored_value(value.sql, target))
    sql = f"INSERT INTO {table.storage} ({', '.join(columns)}) SELECT {', '.join(values)} FROM ({query.sql}) AS _r"
    return session.count(sql)


def stored_value(sql: str, field: Field) -> str:
    """Render a value as a table keeps it: an array is never NULL and holds none."""
    if field.type.kind != "ARRAY":
        return sql
    message = f"Array cannot have a null element; error in writing field {field.name}"
    return f"bq_array_out({sql}, {literal(message)})"


def require_plain(config: Mapping[str, Any], *names: str) -> None:
    """Refuse options of a job that would change what it does and are not known here."""
    for name in names:
        if config.get(name):
            raise unsupported(f"{name}")
