"""Changes of a schema, as far as BigQuery lets one: new columns and fields, descriptions, REQUIRED to NULLABLE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .catalog import Catalog
from .datatypes import Field, Type, array, duckdb_type, quoted, struct
from .errors import BigQueryError, invalid, unsupported
from .records import Table


def with_schema(catalog: Catalog, table: Table, wanted: Sequence[Field], execute: Any) -> Table:
    """Give a table another schema; rows that are there have NULL, or an empty array, in what is new."""
    known = {field.name.lower(): field for field in wanted}
    kept = []
    for old in table.fields:
        new = known.pop(old.name.lower(), None)
        if new is None or (new.required and not old.required):
            raise _changed(table, old.name)
        type_ = _grown(table, old.name, old.type, new.type)
        column = quoted(old.name)
        if type_ != old.type:
            value = _value(column, old.type, type_)
            execute(
                f"ALTER TABLE {table.storage} ALTER COLUMN {column} SET DATA TYPE {duckdb_type(type_)} USING {value}"
            )
        if old.required and not new.required:
            execute(f"ALTER TABLE {table.storage} ALTER COLUMN {column} DROP NOT NULL")
        kept.append(replace(old, required=new.required, description=new.description, type=type_))
    table = replace(table, fields=tuple(kept))
    return catalog.add_fields(table, list(known.values())) if known else table


def _grown(table: Table, name: str, old: Type, new: Type) -> Type:
    """Return the new type of a column, which may have more fields than the old one, at the end of a STRUCT."""
    if old.kind != new.kind:
        raise _changed(table, name)
    if old.kind == "ARRAY":
        return array(_grown(table, name, old.item, new.item))
    if old.kind != "STRUCT":
        return old
    known = {field.name.lower(): field for field in new.fields}
    fields = []
    for one in old.fields:
        path = f"{name}.{one.name}"
        other = known.pop(one.name.lower(), None)
        if other is None or other.required != one.required:
            raise _changed(table, path)
        fields.append(
            replace(one, type=_grown(table, path, one.type, other.type), description=other.description)
        )
    added = list(known.values())
    if [field.name.lower() for field in new.fields] != [field.name.lower() for field in (*fields, *added)]:
        raise unsupported(f"fields of {name} in another order than they have; new ones come at the end")
    for one in added:
        if one.required:
            raise invalid(f"Cannot add required field {name}.{one.name} to an existing schema")
    return struct([*fields, *added])


def _value(sql: str, old: Type, new: Type, depth: int = 0) -> str:
    """Return a value of the old type as one of the new type."""
    if old == new:
        return sql
    if old.kind == "ARRAY":
        one = f"_m{depth}"
        return f"list_transform({sql}, lambda {one}: {_value(one, old.item, new.item, depth + 1)})"
    parts = [
        _value(f"{sql}.{quoted(was.name)}", was.type, now.type, depth)
        for was, now in zip(old.fields, new.fields, strict=False)
    ]
    parts += [
        f"{'[]' if field.type.kind == 'ARRAY' else 'NULL'}::{duckdb_type(field.type)}"
        for field in new.fields[len(old.fields) :]
    ]
    packed = ", ".join(
        f"{quoted(field.name)} := {part}" for field, part in zip(new.fields, parts, strict=True)
    )
    return f"CASE WHEN {sql} IS NOT NULL THEN struct_pack({packed}) END"


def _changed(table: Table, path: str) -> BigQueryError:
    return invalid(
        f"Provided Schema does not match Table {table.full_name}. Field {path} is missing or has changed"
    )
