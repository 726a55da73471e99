"""Parquet files into a table, and the types of their columns in BigQuery's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .datatypes import (
    BOOL,
    BYTES,
    DATE,
    DATETIME,
    FLOAT64,
    INT64,
    JSON,
    NUMERIC,
    STRING,
    TIME,
    TIMESTAMP,
    Field,
    Type,
    array,
    duckdb_type,
    literal,
    quoted,
    struct,
)
from .errors import invalid, unsupported
from .files import SourceFile
from .records import Table
from .session import Session
from .writing import Destination, open_table, stored_value

_SCALARS: Mapping[str, Type] = {
    "VARCHAR": STRING, "BLOB": BYTES, "BOOLEAN": BOOL, "DATE": DATE, "TIME": TIME, "TIME WITH TIME ZONE": TIME,
    "FLOAT": FLOAT64, "DOUBLE": FLOAT64, "JSON": JSON, "TIMESTAMP": DATETIME, "TIMESTAMP_NS": DATETIME,
    "TIMESTAMP_MS": DATETIME, "TIMESTAMP_S": DATETIME, "TIMESTAMP WITH TIME ZONE": TIMESTAMP, "TIME_NS": TIME,
    "TIMESTAMP WITH TIME ZONE NS": TIMESTAMP, "TIMESTAMPTZ_NS": TIMESTAMP,
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"), INT64),
}  # fmt: skip


def load_parquet(
    session: Session, given: Sequence[Field], target: Destination, sources: Sequence[SourceFile]
) -> tuple[Table, int]:
    """Load Parquet files; columns are found by name."""
    names = ", ".join(literal(str(source.path)) for source in sources)
    files = f"read_parquet([{names}], union_by_name = true)"
    found = [Field(name, _type(str(kind), name)) for name, kind in _described(session, files)]
    by_name = {field.name.lower(): field for field in found}
    wanted = [_wanted(field, by_name.get(field.name.lower())) for field in given] if given else found
    extra = by_name.keys() - {field.name.lower() for field in wanted}
    if given and extra:
        raise invalid(f"Provided Schema does not match the file: it has no field {sorted(extra)[0]}")
    with session.transaction():
        table = open_table(session, target, wanted)
        known = {field.name.lower(): field for field in table.fields}
        present = [field for field in wanted if field.name.lower() in by_name]
        columns = [known[field.name.lower()] for field in present]
        values = ", ".join(stored_value(_value(by_name[c.name.lower()], c), c) for c in columns)
        taken = ", ".join(quoted(c.name) for c in columns)
        rows = session.count(f"INSERT INTO {table.storage} ({taken}) SELECT {values} FROM {files}")
        table = session.catalog.touch(table)
    return table, rows


def _described(session: Session, files: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = session.execute(f"DESCRIBE SELECT * FROM {files}").fetchall()
    return [row[:2] for row in rows]


def _type(text: str, name: str) -> Type:
    if text.endswith("[]"):
        return array(_type(text[:-2], name))
    if text.startswith("STRUCT(") and text.endswith(")"):
        return struct(
            [Field(inner, _type(kind, name)) for inner, kind in _members(text[len("STRUCT(") : -1])]
        )
    if text.startswith("DECIMAL("):
        precision, scale = (int(part) for part in text[len("DECIMAL(") : -1].split(","))
        if scale <= 9 and precision - scale <= 29:
            return NUMERIC
    if text not in _SCALARS:
        raise unsupported(f"the Parquet type {text} of column {name}")
    return _SCALARS[text]


def _members(text: str) -> list[tuple[str, str]]:
    """Split the inside of STRUCT(...) as DuckDB writes it."""
    parts, depth, start, inside = [], 0, 0, False
    for place, char in enumerate(f"{text},"):
        if char == '"':
            inside = not inside
        elif not inside:
            depth += {"(": 1, ")": -1}.get(char, 0)
            if char == "," and depth == 0:
                parts.append(text[start:place].strip())
                start = place + 1
    members = []
    for part in parts:
        if part.startswith('"'):
            end = part.index('"', 1)
            members.append((part[1:end], part[end + 1 :].strip()))
        else:
            name, _, kind = part.partition(" ")
            members.append((name, kind))
    return members


def _wanted(field: Field, found: Field | None) -> Field:
    if found is None and field.required:
        raise invalid(f"Required field {field.name} is missing in the file")
    return field


def _value(source: Field, target: Field) -> str:
    column = quoted(source.name)
    if source.type.kind == "STRING" and target.type.kind == "JSON":
        return f"CAST(bq_parse_json_rounded({column}) AS JSON)"
    allowed = {
        ("INT64", "FLOAT64"), ("INT64", "NUMERIC"), ("DATETIME", "TIMESTAMP"), ("TIMESTAMP", "DATETIME"),
        ("DATE", "DATETIME"), ("DATE", "TIMESTAMP"),
    }  # fmt: skip
    if source.type.kind != target.type.kind and (source.type.kind, target.type.kind) not in allowed:
        raise invalid(
            f"Error while reading data, error message: Parquet column '{source.name}' has type {source.type} which "
            f"does not match the target type {target.type}"
        )
    return f"CAST({column} AS {duckdb_type(target.type)})"
